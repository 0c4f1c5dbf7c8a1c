package web

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// closed is a server beyond loopback.
func closed(c *Config) { c.Open = false }

func TestNobodyReadsWithoutSigningInBeyondLoopback(t *testing.T) {
	st := open(t, closed)
	st.keepRun(t, "01a", true)
	secret := st.token(t, "vera", Viewer)
	for _, path := range append(st.paths(), "/runs/01a/record.json") {
		if path == "/signin" {
			continue
		}
		status, head, body := st.get(t, path, nil)
		if status != http.StatusSeeOther || !strings.HasPrefix(head.Get("Location"), "/signin?to=") || strings.Contains(body, "a drill") {
			t.Errorf("%s: %d to %s", path, status, head.Get("Location"))
		}
		if status, _, _ := st.get(t, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }); status == http.StatusUnauthorized || status == http.StatusSeeOther {
			t.Errorf("%s with a token: %d", path, status)
		}
	}
	status, head, _ := st.get(t, "/", func(r *http.Request) { r.Header.Set("Authorization", "Bearer dapple_wrong") })
	if status != http.StatusUnauthorized || head.Get("WWW-Authenticate") == "" {
		t.Errorf("a wrong token: %d", status)
	}
}

func TestASessionEndsWithItsTokenAndWhenOneSignsOut(t *testing.T) {
	st := open(t, closed)
	cookie := st.in(t, st.token(t, "vera", Viewer))
	status, _, body := st.get(t, "/audit", cookie)
	if status != http.StatusOK || !strings.Contains(body, "vera, viewer") || !strings.Contains(body, "sign in") {
		t.Fatalf("signed in: %d %s", status, body)
	}
	if status, _, _ := st.do(t, http.MethodPost, "/signout", url.Values{"form": {"forged"}}, cookie); status != http.StatusForbidden {
		t.Errorf("a form that is not ours: %d", status)
	}
	if status, _, _ := st.do(t, http.MethodPost, "/signout", url.Values{"form": {formOf(t, body)}}, cookie); status != http.StatusSeeOther {
		t.Errorf("signing out: %d", status)
	}
	if status, _, _ := st.get(t, "/audit", cookie); status != http.StatusSeeOther {
		t.Errorf("after signing out: %d", status)
	}
	cookie = st.in(t, st.token(t, "vera", Viewer))
	if ok, err := RemoveToken(TokenFile(st.home), "vera"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if status, _, _ := st.get(t, "/audit", cookie); status != http.StatusSeeOther {
		t.Errorf("after the token was removed: %d", status)
	}
}

// formOf finds the token of a page's forms.
func formOf(t *testing.T, body string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, `name="form" value="`)
	if !ok {
		t.Fatalf("no form in %s", body)
	}
	form, _, _ := strings.Cut(rest, `"`)
	return form
}

func TestARequestOfAnotherSiteIsRefusedAndWrittenDown(t *testing.T) {
	st := open(t, nil)
	secret := st.token(t, "oda", Operator)
	for name, change := range map[string]func(r *http.Request){
		"by Sec-Fetch-Site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"by Origin":         func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
	} {
		if status, head, _ := st.do(t, http.MethodPost, "/signin", url.Values{"token": {secret}}, change); status != http.StatusForbidden || head.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d", name, status)
		}
	}
	entries, err := readAudit(st.home, 10)
	if err != nil || len(entries) != 2 || entries[0].Did != "forbidden" || entries[0].Outcome != refused {
		t.Errorf("%v %v", entries, err)
	}
}

func TestWrongTokensAreFew(t *testing.T) {
	st := open(t, nil)
	secret := st.token(t, "oda", Operator)
	got := map[int]int{}
	for range 3 * signInBurst {
		status, _, _ := st.do(t, http.MethodPost, "/signin", url.Values{"token": {"dapple_guess"}}, nil)
		got[status]++
	}
	if got[http.StatusForbidden] < signInBurst || got[http.StatusTooManyRequests] == 0 {
		t.Errorf("%v", got)
	}
	status, head, _ := st.do(t, http.MethodPost, "/signin", url.Values{"token": {secret}}, nil)
	if status != http.StatusTooManyRequests || head.Get("Retry-After") == "" {
		t.Errorf("the right one after too many wrong ones: %d", status)
	}
	entries, err := readAudit(st.home, 100)
	if err != nil || len(entries) != got[http.StatusForbidden] {
		t.Errorf("%d entries for %v: %v", len(entries), got, err)
	}
}

func TestTooManyRequestsAreRefused(t *testing.T) {
	st := open(t, nil)
	l := st.s.limits.of("127.0.0.1").requests
	l.SetLimit(0)
	l.SetBurst(2)
	for n := 1; n <= 4; n++ {
		status, _, _ := st.get(t, "/healthz", nil)
		if refused := status == http.StatusTooManyRequests; refused != (n > 2) {
			t.Errorf("request %d: %d", n, status)
		}
	}
}

func TestANameThatIsNotOursIsRefused(t *testing.T) {
	st := open(t, func(c *Config) { c.Hosts = []string{"127.0.0.1", "::1"} })
	for host, want := range map[string]int{"rebound.example": http.StatusMisdirectedRequest, "rebound.example:80": http.StatusMisdirectedRequest, "127.0.0.1:8465": http.StatusOK, "[::1]:8465": http.StatusOK} {
		if status, _, _ := st.get(t, "/healthz", func(r *http.Request) { r.Host = host }); status != want {
			t.Errorf("%s: %d, want %d", host, status, want)
		}
	}
}

func TestOneIsOnlySentBackToOurPages(t *testing.T) {
	for to, want := range map[string]string{"/history?page=1": "/history?page=1", "//evil.example": "/", "https://evil.example/": "/", `/\evil.example`: "/", "javascript:alert(1)": "/", "": "/", "/a\r\nSet-Cookie: b": "/"} {
		if got := local(to); got != want {
			t.Errorf("%q leads to %q, want %q", to, got, want)
		}
	}
}

func TestATokenIsKeptAsItsHashOnly(t *testing.T) {
	st := open(t, nil)
	secret := st.token(t, "oda", Operator)
	data, err := os.ReadFile(TokenFile(st.home))
	if err != nil || strings.Contains(string(data), secret) || len(secret) < 40 {
		t.Errorf("%s %v", data, err)
	}
	if err := os.Chmod(TokenFile(st.home), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTokens(TokenFile(st.home)); err == nil || !strings.Contains(err.Error(), "may be read") {
		t.Errorf("others may read it: %v", err)
	}
	if status, _, body := st.do(t, http.MethodPost, "/signin", url.Values{"token": {secret}}, nil); status != http.StatusInternalServerError || !strings.Contains(body, "may be read") {
		t.Errorf("a file that is not to be trusted lets one in: %d", status)
	}
	for _, bad := range []struct {
		name string
		role Role
	}{{"", Viewer}, {"x", "root"}} {
		if _, err := AddToken(t.TempDir()+"/tokens", bad.name, bad.role, time.Now()); err == nil {
			t.Errorf("a token %+v was made", bad)
		}
	}
}

func TestTheAuditLogIsOnlyAppended(t *testing.T) {
	st := open(t, nil)
	torn := `{"at":"2026-11-26T10:00:00Z","did":"st`
	if err := os.WriteFile(AuditFile(st.home), []byte(`{"at":"2026-11-26T09:00:00Z","who":"old","did":"stop","outcome":"done"}`+"\n"+torn+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	st.s.note(t.Context(), Entry{Who: "oda", Did: "stop", Outcome: done})
	data, err := os.ReadFile(AuditFile(st.home))
	if err != nil || !strings.HasPrefix(string(data), `{"at":"2026-11-26T09`) || strings.Count(string(data), "\n") != 3 {
		t.Errorf("%s %v", data, err)
	}
	entries, err := readAudit(st.home, 10)
	if err != nil || len(entries) != 2 || entries[0].Who != "oda" || entries[1].Who != "old" {
		t.Errorf("%v %v", entries, err)
	}
}
