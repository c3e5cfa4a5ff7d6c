package outward

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

// maxAuthFile bounds the file of passwords, in bytes.
const maxAuthFile = 1 << 20

// readAuth reads user names and passwords in the form of netrc(5):
//
//	machine https://bt.master:8443 login dc1 password secret
//
// What stands behind "machine" is an origin. Without a scheme it is https, and
// without a port the scheme's own: the password goes there and nowhere else. A
// "default" is refused, since it would go everywhere. The file must not be
// readable by everybody.
func readAuth(file string) (map[string]*url.Userinfo, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("auth_file: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("auth_file %s can be read or written by everybody: chmod 600 (or 640) it", file)
	}
	if info.Size() > maxAuthFile {
		return nil, fmt.Errorf("auth_file %s has more than %d bytes", file, maxAuthFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("auth_file: %w", err)
	}
	auth, err := parseAuth(string(b))
	if err != nil {
		return nil, fmt.Errorf("auth_file %s: %w", file, err)
	}
	return auth, nil
}

// parseAuth never quotes what may be a password.
func parseAuth(text string) (map[string]*url.Userinfo, error) {
	out := map[string]*url.Userinfo{}
	words := authWords(text)
	for len(words) > 0 {
		if words[0] != "machine" || len(words) < 2 {
			return nil, errors.New(`want entries of the form "machine https://HOST:PORT login NAME password WORD"`)
		}
		at, err := authOrigin(words[1])
		if err != nil {
			return nil, err
		}
		words = words[2:]
		values := map[string]string{}
		for len(words) >= 2 && slices.Contains([]string{"login", "password", "account"}, words[0]) {
			values[words[0]], words = words[1], words[2:]
		}
		if values["login"] == "" {
			return nil, fmt.Errorf("machine %s has no login", at)
		}
		if _, twice := out[at]; twice {
			return nil, fmt.Errorf("machine %s is there twice", at)
		}
		out[at] = url.UserPassword(values["login"], values["password"])
	}
	return out, nil
}

// authWords are the words of the file without its comments, which begin a line.
func authWords(text string) (words []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			words = append(words, strings.Fields(line)...)
		}
	}
	return words
}

func authOrigin(machine string) (string, error) {
	if !strings.Contains(machine, "://") {
		machine = "https://" + machine
	}
	u, err := url.Parse(machine)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", errors.New("a machine is not of the form [https://]HOST[:PORT]")
	}
	return Origin(u), nil
}
