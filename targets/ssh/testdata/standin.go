// Command standin is a small program in dapple's place over there.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/dapple-drills/dapple/targets"
	"github.com/dapple-drills/dapple/targets/ssh"
)

func main() {
	switch os.Args[1] {
	case "version":
		fmt.Println("standin v1")
	case "mark":
		fmt.Println(os.Getenv("STANDIN_MARK"), os.Getppid(), os.Args[2:])
	case "relay":
		var d net.Dialer
		err := ssh.ServeRelay(context.Background(), os.Stdin, os.Stdout, func(ctx context.Context, n targets.Spec, network, addr string) (net.Conn, error) {
			if n.Name == "gone" {
				return nil, fmt.Errorf("node %s: %w", n.Name, targets.ErrGone)
			}
			return d.DialContext(ctx, network, addr)
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
