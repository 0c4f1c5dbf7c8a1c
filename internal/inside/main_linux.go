package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Main is the child: it does what it is told on in until that or ctx ends.
func Main(ctx context.Context, in io.Reader, out io.Writer) error {
	orders := json.NewDecoder(in)
	var first order
	if err := orders.Decode(&first); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // whoever started us is dead
		}
		return fmt.Errorf("reading what to do: %w", err)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case first.Try != nil:
		return json.NewEncoder(out).Encode(answered(first.Try.Run(os.NewFile(3, "the file to try"))))
	case first.Burn != nil:
		return burn(ctx, *first.Burn, first.Lease, orders, json.NewEncoder(out))
	}
	return errors.New("it was told nothing that it can do: this mode is for dapple itself")
}
