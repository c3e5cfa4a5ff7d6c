package config

import "testing"

func TestDeletions(t *testing.T) {
	for text, want := range map[string]*Deletions{
		"none": nil, "100%": nil, "0": {0, false}, "0%": {0, true}, "500": {500, false}, "30%": {30, true},
	} {
		got, err := ParseDeletions(text)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "%", "-1", "101%", "1.5%", "many", "99999999999", "30 %"} {
		if got, err := ParseDeletions(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestMaxDeleteSetting(t *testing.T) {
	c, err := Load(Sources{Flags: map[string]any{"role": "master", "max_delete": "12"}})
	if err != nil || c.MaxDelete != "12" {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := Load(Sources{Flags: map[string]any{"role": "master", "max_delete": "lots"}}); err == nil {
		t.Error("any text is taken")
	}
}
