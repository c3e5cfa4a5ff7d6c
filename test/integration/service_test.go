package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"distd/internal/node"
)

// TestService runs the units under a systemd of their own, in namespaces where
// it is process 1 and sees nothing of this machine's /run, /tmp and network.
func TestService(t *testing.T) {
	needRoot(t)
	for _, program := range []string{"unshare", "nsenter", "systemctl", "curl", "ip"} {
		need(t, program)
	}
	const systemd = "/lib/systemd/systemd"
	if _, err := os.Stat(systemd); err != nil {
		need(t, systemd)
	}
	dir := t.TempDir()
	for _, role := range []string{"master", "seed", "leaf"} {
		b, err := os.ReadFile("../../systemd/distd-" + role + ".service")
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "distd-"+role+".service"), []byte(forTest(string(b))), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(dir, "test.target"), []byte("[Unit]\nDefaultDependencies=no\nWants=distd-master.service distd-seed.service distd-leaf.service\n"), 0o644))
	must(t, os.Link(bin, filepath.Join(dir, "distd")))
	script := fmt.Sprintf(`set -e
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system /run/distd
cp %[1]s/*.service %[1]s/test.target /run/systemd/system/
cp %[1]s/distd /run/distd/
mount -t tmpfs tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /var/lib
ip link set lo up
ip link add link0 type veth peer name link1
ip addr add 10.9.0.1/24 dev link0
ip link set link0 up
ip link set link1 up
exec %[2]s --system --unit=test.target --log-target=console --show-status=no
`, dir, systemd)
	p := start(t, "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child=KILL", "--propagation", "private", "bash", "-c", script)
	first := childOf(t, p)
	inside := func(argv ...string) (string, error) {
		out, err := exec.Command("nsenter", append([]string{"-t", first, "-m", "-p", "-n"}, argv...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	show := func(role, property string) string {
		out, _ := inside("systemctl", "show", "-p", property, "--value", "distd-"+role)
		return out
	}
	for _, role := range []string{"master", "seed", "leaf"} {
		await(t, 30*time.Second, role+" is active", func() bool { return show(role, "ActiveState") == "active" })
		if status, err := inside("cat", "/proc/"+show(role, "MainPID")+"/status"); err != nil || !strings.Contains(status, "NoNewPrivs:\t1") || !strings.Contains(status, "CapEff:\t0000000000000000") {
			t.Errorf("the %s runs with privileges: %v\n%s", role, err, status)
		}
	}
	await(t, 10*time.Second, "the master is ready", func() bool {
		out, _ := inside("curl", "-s", "http://127.0.0.1:8443/readyz")
		return strings.HasPrefix(out, "ok")
	})
	// Local discovery asks the kernel for the interfaces, which a unit may forbid.
	await(t, 10*time.Second, "the leaf uses the link for local discovery, and its DHT has an answer", func() bool {
		out, _ := inside("/run/distd/distd", "status", "-json", "-dir=/var/lib/distd-leaf")
		var s node.Status
		if json.Unmarshal([]byte(out), &s) != nil {
			return false
		}
		return slices.ContainsFunc(s.Sources, func(s node.SourceStatus) bool { return s.Name == "lsd" && strings.Contains(s.Detail, "link0") }) &&
			slices.ContainsFunc(s.Sources, func(s node.SourceStatus) bool { return s.Name == "dht" && s.Alive })
	})
	if out, err := inside("systemctl", "reload", "distd-master"); err != nil || show("master", "ActiveState") != "active" {
		t.Errorf("reload: %s, %v", out, err)
	}
	// A daemon that hangs is ended by the watchdog and started again.
	hung := show("leaf", "MainPID")
	if out, err := inside("kill", "-STOP", hung); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	await(t, 30*time.Second, "the watchdog has ended the hung leaf, and it is back", func() bool {
		return show("leaf", "ActiveState") == "active" && show("leaf", "MainPID") != hung
	})
	// With the drop-in of the manual it may give files away: it tries at the start.
	dropIn := "mkdir -p /run/systemd/system/distd-leaf.service.d && printf '[Service]\\nEnvironment=DISTD_OWNER=1:1\\n" +
		"AmbientCapabilities=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE\\nCapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE\\n' " +
		"> /run/systemd/system/distd-leaf.service.d/owner.conf && systemctl daemon-reload && systemctl restart distd-leaf"
	if out, err := inside("sh", "-c", dropIn); err != nil {
		t.Fatalf("the leaf with an owner: %s, %v", out, err)
	}
	await(t, 30*time.Second, "the leaf with an owner is active", func() bool { return show("leaf", "ActiveState") == "active" })
	if status, err := inside("cat", "/proc/"+show("leaf", "MainPID")+"/status"); err != nil || !strings.Contains(status, "CapBnd:\t000000000000000b") {
		t.Errorf("the leaf with an owner has other rights: %v\n%s", err, status)
	}
	for _, role := range []string{"master", "seed", "leaf"} {
		if out, err := inside("systemctl", "stop", "distd-"+role); err != nil || show(role, "ActiveState") != "inactive" {
			t.Errorf("stopping the %s: %s, %v", role, out, err)
		}
	}
}

// forTest makes a unit fit the namespace: nothing of the system's own start is
// there, nor the user distd, and the watchdog is quick.
func forTest(unit string) string {
	flags := "-listen=127.0.0.1:8443"
	if strings.Contains(unit, "-role=seed") {
		flags = "-listen=127.0.0.1:6969 -peer-listen=127.0.0.1:6881 -master=http://127.0.0.1:8443"
	} else if strings.Contains(unit, "-role=leaf") {
		flags = "-peer-listen=127.0.0.1:6882 -seed=http://127.0.0.1:6969 -lsd -dht=127.0.0.1:6881"
	}
	role := unit[strings.Index(unit, "-role=")+len("-role="):][:4]
	return strings.NewReplacer(
		"[Unit]\n", "[Unit]\nDefaultDependencies=no\n",
		"Wants=network-online.target\nAfter=network-online.target\n", "",
		"/usr/bin/distd", "/run/distd/distd",
		"-config=/etc/distd/config.yaml", flags,
		"-dir=/var/lib/distd", "-dir=/var/lib/distd-"+role,
		"StateDirectory=distd", "StateDirectory=distd-"+role,
		"User=distd\nGroup=distd\n", "User=nobody\nGroup=nogroup\n",
		"WatchdogSec=30", "WatchdogSec=3",
	).Replace(unit)
}

// childOf waits for the first child of a process and returns its id.
func childOf(t *testing.T, p *proc) string {
	t.Helper()
	var child string
	await(t, 10*time.Second, "systemd runs", func() bool {
		select {
		case <-p.done:
			if os.Getenv("CI") != "true" && strings.Contains(p.log(), "Operation not permitted") {
				t.Skip("namespaces are not permitted here")
			}
			t.Fatalf("systemd ended: %v\n%s", p.err, p.log())
		default:
		}
		pid := strconv.Itoa(p.cmd.Process.Pid)
		b, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
		child = strings.TrimSpace(string(b))
		comm, _ := os.ReadFile("/proc/" + child + "/comm")
		return child != "" && strings.HasPrefix(string(comm), "systemd")
	})
	t.Cleanup(func() {
		// The first process of a namespace takes the others along.
		if id, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(id, syscall.SIGKILL)
		}
	})
	return child
}
