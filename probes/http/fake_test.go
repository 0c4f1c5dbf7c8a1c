package http_test

import "github.com/dapple-drills/dapple/targets"

func nodes(list ...node) (all []targets.Node) {
	for _, n := range list {
		all = append(all, n)
	}
	return all
}
