// Releasecheck tries a release before it is tagged. It packs every module of the repository into a module proxy
// made of files, as one version and without replace directives, as the tagged commit will have them. Against
// that proxy it builds a stranger's module that imports every package, runs "go install" for every command, and
// says which tags to set.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/zip"
)

const root = "github.com/belay-go/belay"

// mod is one module of the repository.
type mod struct {
	dir   string // relative to the repository, "." for the core
	path  string
	file  *modfile.File
	files []zip.File
}

// tag returns the tag that publishes the module (https://go.dev/ref/mod#vcs-version).
func (m mod) tag(version string) string {
	if m.dir == "." {
		return version
	}
	return path.Join(m.dir, version)
}

// tracked is a file of the work tree.
type tracked struct{ in, at string }

func (f tracked) Path() string                 { return f.in }
func (f tracked) Lstat() (os.FileInfo, error)  { return os.Lstat(f.at) }
func (f tracked) Open() (io.ReadCloser, error) { return os.Open(f.at) }

func main() {
	version := flag.String("version", "", "the version to try, such as v0.1.0")
	flag.Parse()
	if err := run(*version); err != nil {
		fmt.Fprintln(os.Stderr, "releasecheck:", err)
		os.Exit(1)
	}
}

func run(version string) error {
	if !semver.IsValid(version) || semver.Canonical(version) != version {
		return fmt.Errorf("-version %q is not a version such as v0.1.0", version)
	}
	repo, err := output(".", nil, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	mods, err := modules(repo)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "releasecheck")
	if err != nil {
		return err
	}
	defer func() {
		_ = exec.Command("chmod", "-R", "u+w", temp).Run() // the module cache is read-only
		_ = os.RemoveAll(temp)
	}()
	proxy := filepath.Join(temp, "proxy")
	for _, m := range mods {
		if err := m.pack(proxy, version, mods); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		fmt.Printf("packed %s %s, %d files\n", m.path, version, len(m.files))
	}
	env, err := proxyEnv(proxy, temp)
	if err != nil {
		return err
	}
	packages, commands, err := contents(repo, mods)
	if err != nil {
		return err
	}
	if err := stranger(filepath.Join(temp, "stranger"), env, mods, version, packages); err != nil {
		return err
	}
	fmt.Printf("a stranger's module with %d packages builds\n", len(packages))
	for _, c := range commands {
		if _, err := output(temp, env, "go", "install", c+"@"+version); err != nil {
			return fmt.Errorf("go install %s@%s: %w", c, version, err)
		}
		fmt.Printf("go install %s@%s\n", c, version)
	}
	return tags(repo, mods, version)
}

// modules finds the modules of the repository, but for its own tools.
func modules(repo string) ([]mod, error) {
	list, err := output(repo, nil, "git", "ls-files", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	names := strings.Split(list, "\n")
	var mods []mod
	for _, name := range names {
		dir := path.Dir(name)
		if path.Base(name) != "go.mod" || dir == "tools" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(repo, name))
		if err != nil {
			return nil, err
		}
		file, err := modfile.Parse(name, data, nil)
		if err != nil {
			return nil, err
		}
		if want := path.Join(root, dir); file.Module.Mod.Path != want {
			return nil, fmt.Errorf("%s declares %s, its folder is that of %s", name, file.Module.Mod.Path, want)
		}
		mods = append(mods, mod{dir: dir, path: file.Module.Mod.Path, file: file})
	}
	for _, name := range names {
		at := filepath.Join(repo, name)
		if _, err := os.Lstat(at); err != nil {
			continue // deleted, and not committed yet
		}
		if i := owner(mods, name); i >= 0 && path.Base(name) != "go.mod" {
			in, _ := filepath.Rel(mods[i].dir, name)
			mods[i].files = append(mods[i].files, tracked{filepath.ToSlash(in), at})
		}
	}
	return mods, nil
}

// owner returns the innermost module that a file belongs to, -1 for the repository's tools.
func owner(mods []mod, name string) int {
	best := -1
	for i, m := range mods {
		within := m.dir == "." || strings.HasPrefix(name, m.dir+"/")
		if within && (best < 0 || len(m.dir) > len(mods[best].dir) || mods[best].dir == ".") {
			best = i
		}
	}
	if strings.HasPrefix(name, "tools/") {
		return -1
	}
	return best
}

// pack writes the module into the proxy (https://go.dev/ref/mod#goproxy-protocol).
func (m *mod) pack(proxy, version string, mods []mod) error {
	for _, r := range m.file.Require {
		own := slices.ContainsFunc(mods, func(o mod) bool { return o.path == r.Mod.Path })
		if own && r.Mod.Version != version {
			return fmt.Errorf("go.mod requires %s %s, the release is %s", r.Mod.Path, r.Mod.Version, version)
		}
		if own && !slices.ContainsFunc(m.file.Replace, func(x *modfile.Replace) bool { return x.Old.Path == r.Mod.Path }) {
			return fmt.Errorf("go.mod requires %s without a replace, so it does not build before the release", r.Mod.Path)
		}
	}
	for _, r := range slices.Clone(m.file.Replace) {
		if err := m.file.DropReplace(r.Old.Path, r.Old.Version); err != nil {
			return err
		}
	}
	m.file.Cleanup()
	gomod, err := m.file.Format()
	if err != nil {
		return err
	}
	escaped, err := module.EscapePath(m.path)
	if err != nil {
		return err
	}
	dir := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, _ := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC()})
	var packed bytes.Buffer
	modFile := filepath.Join(dir, version+".mod")
	texts := map[string][]byte{"list": []byte(version + "\n"), version + ".info": info, version + ".mod": gomod}
	for name, data := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	files := append(slices.Clone(m.files), tracked{"go.mod", modFile})
	if err := zip.Create(&packed, module.Version{Path: m.path, Version: version}, files); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, version+".zip"), packed.Bytes(), 0o644)
}

// proxyEnv returns the environment of a user who has nothing of the repository: its modules come from the proxy alone.
func proxyEnv(proxy, temp string) ([]string, error) {
	upstream, err := output(".", nil, "go", "env", "GOPROXY")
	if err != nil {
		return nil, err
	}
	cache, err := output(".", nil, "go", "env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	// What the machine has downloaded already serves too.
	downloads := "file://" + filepath.ToSlash(filepath.Join(cache, "cache", "download"))
	return append(os.Environ(),
		"GOPROXY=file://"+filepath.ToSlash(proxy)+","+downloads+","+upstream,
		"GONOSUMDB="+root+","+root+"/*", "GOFLAGS=-mod=mod", "GOWORK=off",
		"GOMODCACHE="+filepath.Join(temp, "cache"), "GOBIN="+filepath.Join(temp, "bin"),
	), nil
}

// contents lists the packages that others can import, and the commands.
func contents(repo string, mods []mod) (packages, commands []string, err error) {
	for _, m := range mods {
		list, err := output(
			filepath.Join(repo, m.dir),
			append(os.Environ(), "GOWORK=off"),
			"go",
			"list",
			"-f",
			"{{.Name}} {{.ImportPath}} {{len .GoFiles}}",
			"./...",
		)
		if err != nil {
			return nil, nil, err
		}
		for line := range strings.Lines(list) {
			f := strings.Fields(line)
			switch {
			case len(f) != 3 || f[2] == "0" || strings.Contains(f[1]+"/", "/internal/"):
			case f[0] == "main":
				commands = append(commands, f[1])
			default:
				packages = append(packages, f[1])
			}
		}
	}
	return packages, commands, nil
}

// stranger builds a module that imports all packages.
func stranger(dir string, env []string, mods []mod, version string, packages []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var source, gomod strings.Builder
	source.WriteString("package main\n\nimport (\n")
	for _, p := range packages {
		fmt.Fprintf(&source, "\t_ %q\n", p)
	}
	source.WriteString(")\n\nfunc main() {}\n")
	fmt.Fprintf(&gomod, "module stranger\n\ngo %s\n\n", mods[0].file.Go.Version)
	for _, m := range mods {
		if slices.ContainsFunc(packages, func(p string) bool { return p == m.path || strings.HasPrefix(p, m.path+"/") }) {
			fmt.Fprintf(&gomod, "require %s %s\n", m.path, version)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(gomod.String()), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"mod", "tidy"}, {"build", "./..."}, {"vet", "./..."}} {
		if _, err := output(dir, env, "go", args...); err != nil {
			return fmt.Errorf("a stranger's module: go %s: %w", strings.Join(args, " "), err)
		}
	}
	return nil
}

// tags says which tags the release takes. One that exists must be on a commit that has no replace.
func tags(repo string, mods []mod, version string) error {
	var errs []error
	for _, m := range mods {
		tag := m.tag(version)
		if _, err := output(repo, nil, "git", "rev-parse", "--verify", "--quiet", "refs/tags/"+tag); err != nil {
			fmt.Println("tag to set:", tag)
			continue
		}
		data, err := output(repo, nil, "git", "show", tag+":"+path.Join(m.dir, "go.mod"))
		if err == nil && strings.Contains(data, "replace ") {
			err = errors.New("its go.mod has a replace, with which go install refuses it")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tag %s: %w", tag, err))
			continue
		}
		fmt.Println("tag is there:", tag)
	}
	return errors.Join(errs...)
}

// output runs a command and returns what it prints.
func output(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
