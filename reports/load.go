package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
)

// Load reads the run in dir. The timeline may be missing or torn at its end,
// as after a crash of the runner: what is there is used.
func Load(dir string) (Run, error) { return LoadFrom(os.DirFS(dir), dir) }

// LoadFrom is Load where the files of the run are in files; dir is only quoted.
func LoadFrom(files fs.FS, dir string) (Run, error) {
	r := Run{Dir: dir}
	data, err := fs.ReadFile(files, RecordFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return r, fmt.Errorf("%s is not the folder of a finished run: it holds no %s; name a run's id or folder, see dapple list", dir, RecordFile)
		}
		return r, fmt.Errorf("reading the record: %w", err)
	}
	if err := errors.Join(json.Unmarshal(data, &r.Record), sane(data)); err != nil {
		return r, fmt.Errorf("reading %s: %w", filepath.Join(dir, RecordFile), err)
	}
	if s := r.Record.Schema; s != drills.Schema {
		return r, fmt.Errorf("%s has the schema %q, and this dapple reads %q: use the dapple that wrote it (%s)",
			filepath.Join(dir, RecordFile), s, drills.Schema, orText(r.Record.Dapple.Version, "version unknown"))
	}
	r.Timeline, err = loadTimeline(files, filepath.Join(dir, TimelineFile))
	return r, err
}

func loadTimeline(files fs.FS, path string) (timeline.Timeline, error) {
	f, err := files.Open(TimelineFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the timeline: %w", err)
	}
	t, err := timeline.Read(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return t, nil
}

// largest is about 50 years in milliseconds, as for the times of a timeline: no
// figure of a record is beyond it, and sums of what is below do not overflow.
const largest = 1.6e12

// sane looks for numbers that no drill can have measured, so that a damaged
// record is an error and not a picture of nonsense.
func sane(data []byte) error {
	var walk func(key string, v any) error
	walk = func(key string, v any) error {
		switch v := v.(type) {
		case float64:
			if math.Abs(v) > largest && key != "seed" {
				return fmt.Errorf("%s is %v, which no drill can have measured: the record is damaged", key, v)
			}
		case []any:
			for _, e := range v {
				if err := walk(key, e); err != nil {
					return err
				}
			}
		case map[string]any:
			for _, k := range sortedKeys(v) {
				if err := walk(k, v[k]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return nil // told by whoever decodes the record
	}
	return walk("", v)
}
