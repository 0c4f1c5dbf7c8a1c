# Everything here is what CI runs, and nothing that a laptop cannot.

# vet, test and build share their cache with cgo off; the race detector needs it on.
export CGO_ENABLED = 0

.PHONY: build test check bench fuzz proof kill-matrix selftest docs release release-check

build: ## bin/dapple
	go build -trimpath -o bin/dapple ./cmd/dapple

test: ## all tests; as root on Debian, installs and starts what they need, and stops what it started
	.ci/test

check: bin/staticcheck ## format, vet, staticcheck, layering: needs only Go
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	GOOS=darwin go build -o /dev/null ./cmd/dapple
	bin/staticcheck ./...
	go test ./internal/archtest

bench: ## the figures that the docs quote: ratios measured in one run
	go test -run '^$$' -bench . -benchmem -timeout 60m ./...

proof: build ## hours: drills every known-bad cluster and its sound twin; PROOF="-rows 6,15 -n 3"
	go test -tags proof -timeout 24h -v -run TestEveryTwin ./internal/proof -args $(PROOF)

selftest: build ## minutes: every number holds a known truth, in 1,000 runs; SELFTEST="--seed 7"
	bin/dapple selftest --runs 1000 $(SELFTEST)

docs: ## minutes: every command of the documents that is not marked "not run", whole drills too
	go test ./cmd/dapple -run TestTheCommandsOfTheDocumentsAreRun -count 1 -v -timeout 60m -docs

fuzz: ## every fuzz target for 20 s
	.ci/fuzz 20s

kill-matrix: ## whoever is killed, every fault ends: 1,000 cases, and 100 with a helper container (as root, on Linux)
	DAPPLE_MATRIX_CASES=$${DAPPLE_MATRIX_CASES:-1000} go test ./injectors/agent/killmatrix -run 'Whoever|Whatever' -v -timeout 4h

release: bin/goreleaser bin/cyclonedx-gomod ## dist/: binaries, deb, rpm, image, bills of materials, checksums; nothing is published
	.ci/release $(RELEASE)

release-check: bin/goreleaser bin/cyclonedx-gomod ## made twice, in two places, it is the same; the deb (as root) and the image work
	.ci/release-check

# Not in internal/tools: what they need is 2,000 lines of go.sum. "go install" of a
# version is checked by the checksum database all the same.
bin/goreleaser: Makefile
	GOBIN=$(CURDIR)/bin go install -trimpath github.com/goreleaser/goreleaser/v2@v2.15.1

bin/cyclonedx-gomod: Makefile
	GOBIN=$(CURDIR)/bin go install -trimpath github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

bin/staticcheck: internal/tools/go.mod
	go build -C internal/tools -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
