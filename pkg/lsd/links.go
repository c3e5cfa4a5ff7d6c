package lsd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"go.uber.org/zap"
)

// maxLinks is how many interfaces are used. Linux lets a socket join a group on
// 20 of them by default.
const maxLinks = 20

// link is an interface on which a socket has joined its group.
type link struct {
	ifi   net.Interface
	addrs string // to see when they change
	speak bool   // announces go out too
}

// links are the interfaces of one socket. Only the goroutine of Run changes them.
type links struct {
	sock   socket
	log    *zap.Logger
	joined map[int]*link     // by index of the interface
	failed map[string]string // names of interfaces that could not be joined, and why
}

// addresses are what the interface's addresses say.
type addresses struct {
	all4, all6 string // of each family, sorted; "" for none
	beyond6    bool   // one of IPv6 is good beyond the link
}

// addressesOf reads an interface's addresses.
func addressesOf(ifi *net.Interface) (a addresses, err error) {
	list, err := ifi.Addrs()
	if err != nil {
		return a, err
	}
	var all4, all6 []string
	for _, entry := range list {
		prefix, err := netip.ParsePrefix(entry.String())
		if err != nil {
			continue
		}
		if addr := prefix.Addr(); addr.Is4() {
			all4 = append(all4, addr.String())
		} else {
			all6 = append(all6, addr.String())
			a.beyond6 = a.beyond6 || !addr.IsLinkLocalUnicast()
		}
	}
	slices.Sort(all4)
	slices.Sort(all6)
	if len(all4) > 0 {
		a.all4 = fmt.Sprint(all4)
	}
	if len(all6) > 0 {
		a.all6 = fmt.Sprint(all6)
	}
	return a, nil
}

// of are the addresses of the socket's family, and whether announces are to come
// from them. Where there is IPv4, peers need no IPv6 that is good on the link only:
// each would be found twice, and once by an address that nobody else can use.
func (l *links) of(a addresses) (addrs string, speak bool) {
	if l.sock.group().Addr().Is4() {
		return a.all4, true
	}
	return a.all6, a.beyond6 || a.all4 == ""
}

// update joins the group on interfaces that have come, and leaves it on those
// that are gone. It says whether there is a link that has not heard our announces
// from the address that counts now.
func (l *links) update(ifaces []net.Interface, read func(*net.Interface) (addresses, error)) (news bool) {
	here := map[int]bool{}
	for _, ifi := range ifaces {
		a, err := read(&ifi)
		if err != nil {
			continue // it went away just now
		}
		addrs, speak := l.of(a)
		old := l.joined[ifi.Index]
		if addrs == "" || old == nil && len(l.joined) >= maxLinks {
			continue
		}
		if old == nil && !l.join(&ifi) {
			continue
		}
		here[ifi.Index] = true
		if old == nil || old.addrs != addrs || old.speak != speak {
			l.joined[ifi.Index] = &link{ifi, addrs, speak}
			news = news || speak
		}
	}
	for index, k := range l.joined {
		if !here[index] {
			delete(l.joined, index)
			_ = l.sock.leave(&k.ifi) // fails when the interface is gone, and then it has no group
			l.log.Debug("local discovery has left an interface", zap.String("interface", k.ifi.Name), zap.Stringer("group", l.sock.group()))
		}
	}
	return news
}

func (l *links) join(ifi *net.Interface) bool {
	err := l.sock.join(ifi)
	if err == nil {
		delete(l.failed, ifi.Name)
		l.log.Debug("local discovery uses an interface", zap.String("interface", ifi.Name), zap.Stringer("group", l.sock.group()))
		return true
	}
	if l.failed[ifi.Name] != err.Error() && len(l.failed) < 100 { // not again each time
		l.failed[ifi.Name] = err.Error()
		l.log.Warn("local discovery cannot use an interface; peers behind it are not found this way, and it is tried again",
			zap.String("interface", ifi.Name), zap.Stringer("group", l.sock.group()), zap.Error(err))
	}
	return false
}

// send sends a message out of all links, and counts what it did.
func (l *links) send(m message) (sent, failed uint64, err error) {
	b := m.encode(l.sock.group().String())
	var errs []error
	for _, k := range l.joined {
		if !k.speak {
			continue
		}
		if err := l.sock.write(b, &k.ifi); err != nil {
			failed++
			errs = append(errs, fmt.Errorf("announce on %s: %w", k.ifi.Name, err))
			continue
		}
		sent++
	}
	return sent, failed, errors.Join(errs...)
}

// multicastInterfaces are those that are up and can do multicast.
func multicastInterfaces() ([]net.Interface, error) {
	all, err := net.Interfaces()
	return slices.DeleteFunc(all, func(i net.Interface) bool {
		const want = net.FlagUp | net.FlagMulticast
		return i.Flags&want != want || i.Flags&net.FlagLoopback != 0
	}), err
}
