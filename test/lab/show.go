package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// show prints a result on standard output, for people or as JSON.
func show(asJSON bool, result any) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(result)
	}
	_, err := fmt.Println(result)
	return err
}
