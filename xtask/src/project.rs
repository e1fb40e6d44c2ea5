//! Where the project lies and what cargo knows of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;
use xshell::{Shell, cmd};

/// The workspace and a shell at its root.
pub(crate) struct Project {
    pub(crate) shell: Shell,
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    packages: Vec<Value>,
}

impl Project {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let shell = Shell::new()?;
        // Where cargo says that this program's manifest is when it runs it; where it was compiled otherwise.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
        let manifest = manifest.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies in a directory of the workspace")?.to_owned();
        shell.change_dir(&root);
        let json = cmd!(shell, "cargo metadata --no-deps --format-version 1").quiet().read()?;
        let metadata: Value = serde_json::from_str(&json)?;
        let target = PathBuf::from(metadata["target_directory"].as_str().context("no target directory")?);
        let packages = metadata["packages"].as_array().cloned().context("no packages")?;
        Ok(Project { shell, root, target, packages })
    }

    /// What cargo says of every package, sorted by name.
    pub(crate) fn packages(&self) -> Vec<Package<'_>> {
        let mut packages: Vec<_> = self.packages.iter().map(Package).collect();
        packages.sort_by_key(Package::name);
        packages
    }

    /// Every file below these directories whose name ends so, sorted.
    pub(crate) fn files(&self, below: &[&str], ends: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut open: Vec<PathBuf> = below.iter().map(|dir| self.root.join(dir)).collect();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    open.push(entry?.path());
                }
            } else if path.exists() && ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// A path as it reads from the root.
    pub(crate) fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// What cargo says of one package.
pub(crate) struct Package<'a>(pub(crate) &'a Value);

/// A line of a package's manifest.
pub(crate) struct Dependency<'a> {
    pub(crate) name: &'a str,
    /// Needed by tests, examples and benchmarks only.
    pub(crate) dev: bool,
    /// Which versions, as in `^0.1.0`; `*` where only a path is given.
    pub(crate) versions: &'a str,
}

impl<'a> Package<'a> {
    pub(crate) fn name(&self) -> &'a str {
        self.0["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn version(&self) -> &'a str {
        self.0["version"].as_str().unwrap_or_default()
    }

    /// Not `publish = false`.
    pub(crate) fn is_published(&self) -> bool {
        self.0["publish"].is_null()
    }

    pub(crate) fn keywords(&self) -> impl Iterator<Item = &'a str> {
        self.0["keywords"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    pub(crate) fn dependencies(&self) -> impl Iterator<Item = Dependency<'a>> {
        self.0["dependencies"].as_array().into_iter().flatten().map(|dependency| Dependency {
            name: dependency["name"].as_str().unwrap_or_default(),
            dev: dependency["kind"].as_str() == Some("dev"),
            versions: dependency["req"].as_str().unwrap_or_default(),
        })
    }

    /// Names of the targets of a kind: `lib`, `example`, `bench`.
    pub(crate) fn targets(&self, kind: &str) -> impl Iterator<Item = &'a str> {
        let of_kind =
            move |target: &&Value| target["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == kind));
        let targets = self.0["targets"].as_array().into_iter().flatten().filter(of_kind);
        targets.map(|target| target["name"].as_str().unwrap_or_default())
    }
}
