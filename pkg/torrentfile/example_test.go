package torrentfile_test

import (
	"crypto/sha1"
	"fmt"
	"log"

	"distd/internal/layout"
	"distd/pkg/torrentfile"
)

func Example() {
	content := []byte("hello, farm\n")
	l, err := layout.New(torrentfile.PieceLength(int64(len(content))), []layout.File{{Path: "hello.txt", Length: int64(len(content))}})
	if err != nil {
		log.Fatal(err)
	}
	sum := sha1.Sum(content)
	t, err := torrentfile.Create("hello.txt", false, l, sum[:])
	if err != nil {
		log.Fatal(err)
	}
	t.Announce = [][]string{{"http://bt.local.dc:6969/announce"}}
	b, err := t.Encode()
	if err != nil {
		log.Fatal(err)
	}
	same, err := torrentfile.Parse(b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %x %s\n", same.Name, same.InfoHash, same.Announce[0][0])
	// Output: hello.txt f70f31cd4a50b890550f32035a40d790cf3ec022 http://bt.local.dc:6969/announce
}
