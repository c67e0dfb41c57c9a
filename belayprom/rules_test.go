package belayprom_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belay-go/belay/belayprom"
)

// metricNames are the names in a query.
var metricNames = regexp.MustCompile(`integration_[a-z_]+`)

func promtool(t *testing.T) string {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: promtool is not installed")
	}
	return tool
}

// rulesWithoutTexts returns the rules without their annotations, which would have to be repeated in each test, with the
// names of the alerts.
func rulesWithoutTexts(t *testing.T) (rules string, names []string) {
	t.Helper()
	data, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	texts := false
	for line := range strings.Lines(string(data)) {
		if strings.TrimSpace(line) == "annotations:" {
			texts = true
			continue
		}
		if texts && strings.HasPrefix(line, "          ") {
			continue
		}
		texts = false
		if _, name, ok := strings.Cut(line, "- alert: "); ok {
			names = append(names, strings.TrimSpace(name))
		}
		out = append(out, line)
	}
	return strings.Join(out, ""), names
}

// fault is what partners do, minute by minute, and the alert that it is made for.
type fault struct {
	alert  string
	labels string   // of the alert, beside alertname
	series []string // name{labels}=values, in promtool's notation, a sample each minute
	quiet  string   // when it does not fire yet
	fires  string   // when it does
}

// calls is the series of calls that end so.
func calls(status, class, values string) string {
	return fmt.Sprintf(`integration_api_calls_total{partner="crm",endpoint="/x",method="GET",status_code="%s",class="%s"}=%s`,
		status, class, values)
}

var faults = []fault{
	{"PartnerServerErrors", `severity: P1, partner: crm`, []string{calls("200", "ok", "0+600x30"), calls("503", "transient", "0+7x30")}, "9m", "13m"},
	{"PartnerNoAnswer", `severity: P1, partner: crm`, []string{calls("200", "ok", "0+6x30"), calls("timeout", "transient", "0+6x30")}, "9m", "13m"},
	{"PartnerUnusableAnswers", `severity: P2, partner: crm`, []string{calls("200", "ok", "0+500x30"), calls("200", "data", "0+9x30")}, "4m", "9m"},
	{"PartnerRateLimited", `severity: P2, partner: crm`, []string{calls("200", "ok", "0+600x30"), calls("429", "rate_limited", "0+9x30")}, "4m", "9m"},
	{"PartnerCredentialRefused", `severity: P1, partner: crm`, []string{calls("401", "auth", "_x5 1+1x4 5x60")}, "6m", "11m"},
	{"PartnerManyCredentialsRefused", `severity: P1, partner: crm`, []string{calls("401", "auth", "0x90 0x5 6x3 12x70"), calls("200", "ok", "1x200")}, "95m", "140m"},
	{"PartnerForbidden", `severity: P2, partner: crm, endpoint: /x, method: GET`, []string{calls("200", "ok", "5x60"), calls("403", "auth", "0x15 0+1x40")}, "15m", "25m"},
	{
		"PartnerSlow", `severity: P2, partner: crm`, []string{
			`integration_api_call_duration_seconds_bucket{partner="crm",endpoint="/x",method="GET",le="5"}=0+90x60`,
			`integration_api_call_duration_seconds_bucket{partner="crm",endpoint="/x",method="GET",le="10"}=0+100x60`,
			`integration_api_call_duration_seconds_bucket{partner="crm",endpoint="/x",method="GET",le="+Inf"}=0+100x60`,
		}, "9m", "13m",
	},
	{"PartnerCircuitOpen", `severity: P1, partner: crm, origin: "https://crm"`, []string{`integration_api_circuit_open{partner="crm",origin="https://crm",route="",integration=""}=_x3 1x30`}, "7m", "10m"},
	{"PartnerRouteCircuitOpen", `severity: P2, partner: crm, origin: "https://crm"`, []string{`integration_api_circuit_open{partner="crm",origin="https://crm",route="GET /x",integration=""}=_x3 1x30`}, "7m", "10m"},
	{"PartnerBan", `severity: P1, partner: crm`, []string{
		`integration_api_pause_end_timestamp_seconds{partner="crm",scope="credential"}=3600x5 86400x30`,
		`integration_api_pause_length_seconds{partner="crm",scope="credential"}=3599x5 3600x30`,
	}, "5m", "7m"},
	{"PartnerLimitTightened", `severity: P2, partner: crm`, []string{`integration_api_limits_tightened{partner="crm",integration=""}=0x5 1x30`}, "9m", "12m"},
	{"PartnerProbeFailed", `severity: P1, partner: crm, check: crm`, []string{`integration_probe_up{partner="crm",check="crm"}=1x5 0x30`}, "5m", "7m"},
	{
		"PartnerProbeSlow", `severity: P2, partner: crm, check: crm`, []string{
			`integration_probe_duration_seconds{partner="crm",check="crm"}=3x5 3.1x30`,
			`integration_probe_failures{partner="crm",check="crm"}=0x60`, `integration_probe_up{partner="crm",check="crm"}=1x60`,
		}, "6m", "9m",
	},
	{"PartnerTokenRevoked", `severity: P1, partner: crm`, []string{`integration_token_refreshes_total{partner="crm",result="revoked"}=_x5 1x30`}, "4m", "7m"},
	{"PartnerTokenFailing", `severity: P2, partner: crm`, []string{`integration_token_refreshes_total{partner="crm",result="failed"}=0x5 1+1x30`, `integration_token_refreshes_total{partner="crm",result="ok"}=7x60`}, "9m", "13m"},
	{"PartnerRefreshTokenEnding", `severity: P2, partner: crm`, []string{
		`integration_token_refresh_end_timestamp_seconds{partner="crm"}=605400x60`,
		`integration_token_refresh_warn_timestamp_seconds{partner="crm"}=600x60`,
	}, "9m", "11m"},
	{
		"WebhooksFailing", `severity: P2, partner: crm`, []string{
			`integration_webhook_handled_total{partner="crm",type="x",result="ok"}=0+18x60`,
			`integration_webhook_handled_total{partner="crm",type="x",result="failed"}=0x10 0+1x50`,
		}, "10m", "25m",
	},
	{"InboxDeep", `severity: P2, inbox: crm`, []string{`integration_inbox_pending{inbox="crm"}=5000x5 5001x60`}, "19m", "22m"},
	{"InboxOld", `severity: P2, inbox: crm`, []string{`integration_inbox_oldest_seconds{inbox="crm"}=0+60x60`}, "15m", "17m"},
	{"QueueDeep", `severity: P2, queue: crm`, []string{`integration_queue_tasks{queue="crm",state="due"}=5000x5 5001x60`, `integration_queue_tasks{queue="crm",state="later"}=9000x60`}, "19m", "22m"},
	{"QueueOld", `severity: P2, queue: crm`, []string{
		`integration_queue_oldest_seconds{queue="crm"}=0+60x60`, `integration_queue_held{queue="crm"}=0x60`,
		`integration_queue_oldest_seconds{queue="held"}=0+90x60`, `integration_queue_held{queue="held"}=1x60`,
	}, "15m", "17m"},
	{"NoWorkers", `severity: P1`, []string{`integration_queue_processes{}=1x5 0x60`}, "5m", "7m"},
	{"NoWorkers", `severity: P1`, []string{`integration_queue_processes{}=1x5 stale`}, "5m", "7m"}, // who told it is gone, too
	{"PartnerEndpointEnding", `severity: P2, partner: crm, endpoint: /v1/x`, []string{`integration_api_endpoint_end_timestamp_seconds{partner="crm",endpoint="/v1/x"}=7776600x60`}, "9m", "11m"},
	{"SchemaChanged", `severity: P2, partner: crm`, []string{`integration_schema_changes_total{partner="crm"}=_x5 1x30`}, "4m", "7m"},
	{
		"ImportRejecting", `severity: P2, partner: crm, import: people`, []string{
			`integration_import_records_total{partner="crm",import="people",change="rejected"}=0x5 0+1x60`,
			`integration_import_records_total{partner="crm",import="people",change="saved"}=0+50x60`,
		}, "7m", "15m",
	},
	{"ImportFailed", `severity: P2, partner: crm, import: people`, []string{`integration_import_runs_total{partner="crm",import="people",result="failed"}=_x5 1x30`}, "4m", "7m"},
}

// Each alert fires for the fault that it is made for, not before its time, and no other fires beside it; none fires
// while all is well.
func TestRules(t *testing.T) {
	tool := promtool(t)
	if out, err := exec.Command(tool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rules, names := rulesWithoutTexts(t)
	dir := t.TempDir()
	var b strings.Builder
	b.WriteString("rule_files: [rules.yaml]\nevaluation_interval: 30s\ntests:\n")
	test := func(series []string, expect func(check func(at, alert, labels string))) {
		b.WriteString("  - interval: 1m\n    input_series:\n")
		for _, s := range series {
			at := strings.LastIndex(s, "}=")
			fmt.Fprintf(&b, "      - series: '%s'\n        values: '%s'\n", s[:at+1], s[at+2:])
		}
		b.WriteString("    alert_rule_test:\n")
		expect(func(at, alert, labels string) {
			fmt.Fprintf(&b, "      - eval_time: %s\n        alertname: %s\n        exp_alerts: [", at, alert)
			if labels != "" {
				fmt.Fprintf(&b, "{exp_labels: {%s}}", labels)
			}
			b.WriteString("]\n")
		})
	}
	var covered []string
	for _, f := range faults {
		covered = append(covered, f.alert)
		test(f.series, func(check func(at, alert, labels string)) {
			for _, name := range names {
				check(f.quiet, name, "")
				if name == f.alert {
					check(f.fires, name, f.labels)
				} else if !(f.alert == "PartnerManyCredentialsRefused" && name == "PartnerCredentialRefused") {
					check(f.fires, name, "")
				}
			}
		})
	}
	for _, name := range names {
		if !slices.Contains(covered, name) {
			t.Errorf("no fault is made for %s", name)
		}
	}
	well := []string{
		calls("200", "ok", "0+600x120"), calls("404", "client", "0+60x120"), calls("503", "transient", "0+1x120"),
		calls("429", "rate_limited", "0+2x120"), `integration_token_refreshes_total{partner="crm",result="ok"}=0+1x120`,
		`integration_token_refreshes_total{partner="crm",result="revoked"}=0x120`,
		`integration_probe_up{partner="crm",check="crm"}=1x120`, `integration_inbox_pending{inbox="crm"}=4000x120`,
		`integration_queue_tasks{queue="crm",state="due"}=4000x120`, `integration_queue_processes{}=2x120`,
		`integration_import_records_total{partner="crm",import="people",change="saved"}=0+500x120`,
		`integration_import_records_total{partner="crm",import="people",change="rejected"}=0+1x120`,
	}
	test(well, func(check func(at, alert, labels string)) {
		for _, name := range names {
			check("100m", name, "")
		}
	})
	for name, text := range map[string]string{"rules.yaml": rules, "test.yaml": b.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(tool, "test", "rules", "test.yaml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// The rules and the dashboard ask for metrics that exist, in queries that Prometheus understands.
func TestQueries(t *testing.T) {
	there := everyMetric(t)
	data, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	known := func(where, query string) {
		for _, name := range metricNames.FindAllString(query, -1) {
			base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
			if !there[name] && !there[base] {
				t.Errorf("%s asks for %s, which does not exist", where, name)
			}
		}
	}
	known("rules.yaml", string(data))
	data, err = os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Query string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	rules := "groups:\n  - name: dashboard\n    rules:\n"
	queries := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries++
			known(p.Title, target.Expr)
			expr := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(target.Expr)
			quoted, err := json.Marshal(expr)
			if err != nil {
				t.Fatal(err)
			}
			rules += fmt.Sprintf("      - record: query_%d\n        expr: %s\n", queries, quoted)
		}
	}
	for _, v := range dashboard.Templating.List {
		known("the variable", v.Query)
	}
	if queries < 15 {
		t.Errorf("the dashboard has only %d queries", queries)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool(t), "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// everyMetric returns the names of all metrics of the package.
func everyMetric(t *testing.T) map[string]bool {
	t.Helper()
	m := must[*belayprom.Metrics](t)(belayprom.New(belayprom.Config{}))
	descs := make(chan *prometheus.Desc, 1000)
	m.Describe(descs)
	close(descs)
	there := make(map[string]bool)
	for d := range descs {
		there[metricNames.FindString(d.String())] = true
	}
	return there
}
