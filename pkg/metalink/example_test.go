package metalink_test

import (
	"fmt"
	"log"
	"os"
	"strings"

	"distd/pkg/metalink"
)

func ExampleParse() {
	d, err := metalink.Parse(strings.NewReader(`<metalink version="3.0" xmlns="http://www.metalinker.org/"><files>
<file name="a.iso"><size>5</size><resources>
<url preference="10" location="internal" type="http">http://bt.master/a.iso</url>
<url preference="100" location="external" type="https">https://bt.example/a.iso</url>
</resources></file></files></metalink>`))
	if err != nil {
		log.Fatal(err)
	}
	for i, tier := range d.Files[0].Tiers() {
		fmt.Println(i, tier[0].URL)
	}
	// Output:
	// 0 https://bt.example/a.iso
	// 1 http://bt.master/a.iso
}

func ExampleDocument_WriteV4() {
	d := metalink.Document{Files: []metalink.File{{
		Name: "a.iso", Size: 5,
		URLs: []metalink.URL{{URL: "https://bt.example/a.iso", Priority: metalink.Priority(100), Location: "external"}},
	}}}
	if err := d.WriteV4(os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// <?xml version="1.0" encoding="UTF-8"?>
	// <metalink xmlns="urn:ietf:params:xml:ns:metalink">
	// 	<file name="a.iso">
	// 		<size>5</size>
	// 		<url location="external" priority="1">https://bt.example/a.iso</url>
	// 	</file>
	// </metalink>
}
