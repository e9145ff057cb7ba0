//! The path by which the calling crate reaches `db-core`.
//!
//! In this order: the option `crate = path`; the name under which the compiler was handed the library, `--extern name=…/libdb_core-….rmeta`;
//! the name in the manifest, for editors, which expand in a process of their own; `db_core`.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use proc_macro2::{Ident, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};

/// The library's name where nothing else is said. `db-core` itself declares `extern crate self as db_core`.
const LIBRARY: &str = "db_core";
const PACKAGE: &str = "\"db-core\"";

/// `db-core`, as the calling crate names it.
#[derive(Clone)]
pub(crate) struct Runtime {
    name: String,
}

impl Runtime {
    /// Looked up once for a manifest and a thread: an editor expands for several crates in one process.
    pub(crate) fn of_the_calling_crate() -> Self {
        thread_local! {
            static LAST: RefCell<Option<(Option<OsString>, Runtime)>> = const { RefCell::new(None) };
        }
        let manifest = env::var_os("CARGO_MANIFEST_DIR");
        LAST.with_borrow_mut(|last| match last {
            Some((of, runtime)) if *of == manifest => runtime.clone(),
            _ => {
                let name = in_arguments(env::args_os().filter_map(|argument| argument.into_string().ok()))
                    .or_else(|| in_manifests(Path::new(manifest.as_ref()?)))
                    .unwrap_or_else(|| LIBRARY.to_owned());
                last.insert((manifest, Self::named(name))).1.clone()
            }
        })
    }

    pub(crate) fn named(name: String) -> Self {
        Self { name }
    }

    /// What a path of the user's names `db-core` by.
    pub(crate) fn is_named(&self, name: &Ident) -> bool {
        name == &self.name || name == LIBRARY
    }
}

/// The path of what the attributes expand to, `::db_core::__private`, with its first token here.
///
/// The name itself lies on the attribute or on the option `crate`, always: where it cannot be resolved, the compiler reports that
/// once for one place.
#[derive(Clone, Copy)]
pub(crate) struct Private<'a> {
    runtime: &'a Runtime,
    path: Option<&'a syn::Path>,
    at: Span,
}

impl<'a> Private<'a> {
    pub(crate) fn new(runtime: &'a Runtime, path: Option<&'a syn::Path>) -> Self {
        Self { runtime, path, at: Span::mixed_site() }
    }

    pub(crate) fn at(self, at: Span) -> Self {
        Self { at, ..self }
    }
}

impl ToTokens for Private<'_> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self.path {
            Some(path) => path.to_tokens(tokens),
            None => {
                path_separator(tokens, self.at);
                tokens.append(Ident::new(&self.runtime.name, Span::mixed_site()));
            }
        }
        path_separator(tokens, self.at);
        tokens.append(Ident::new("__private", self.at));
    }
}

fn path_separator(tokens: &mut TokenStream, at: Span) {
    for spacing in [Spacing::Joint, Spacing::Alone] {
        let mut colon = Punct::new(':', spacing);
        colon.set_span(at);
        tokens.append(TokenTree::from(colon));
    }
}

/// `storage` of `--extern storage=/…/libdb_core-0123.rmeta`. Of several, `db_core` itself.
fn in_arguments(arguments: impl Iterator<Item = String>) -> Option<String> {
    let mut found = None;
    let mut is_value = false;
    for argument in arguments {
        let value = if is_value { Some(&*argument) } else { argument.strip_prefix("--extern=") };
        is_value = argument == "--extern";
        let Some((name, file)) = value.and_then(|value| value.split_once('=')) else {
            continue;
        };
        // After options such as `priv,noprelude:`.
        let name = name.rsplit_once(':').map_or(name, |(_, name)| name);
        let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
        let stem = file.split(['-', '.']).next().unwrap_or(file);
        if stem.strip_prefix("lib").unwrap_or(stem) == LIBRARY && (found.is_none() || name == LIBRARY) {
            found = Some(name.to_owned());
        }
    }
    found
}

/// The name in the manifest of this folder; for a dependency that is the workspace's, in that of a folder above.
fn in_manifests(folder: &Path) -> Option<String> {
    folder.ancestors().find_map(|folder| in_manifest(&fs::read_to_string(folder.join("Cargo.toml")).ok()?))
}

/// The key of the table that has `package = "db-core"`. A table that is written in braces lies on one line, so that a line at a
/// time is read.
fn in_manifest(manifest: &str) -> Option<String> {
    let mut table = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.split(']').next().unwrap_or(header);
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            continue;
        };
        let dependency = if key == "package" && value.starts_with(PACKAGE) {
            table.rsplit_once('.').map(|(_, name)| name)
        } else if let Some(name) = key.strip_suffix(".package") {
            value.starts_with(PACKAGE).then_some(name)
        } else {
            let package = value.strip_prefix('{').and_then(|fields| fields.split_once("package")).map(|(_, value)| value.trim_start());
            let package = package.and_then(|value| value.strip_prefix('='));
            package.is_some_and(|value| value.trim_start().starts_with(PACKAGE)).then_some(key)
        };
        if let Some(name) = dependency {
            return Some(name.trim_matches(['"', '\'']).replace('-', "_"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_asked_for_the_name_it_was_given() {
        let name = |arguments: &str| in_arguments(arguments.split(' ').map(str::to_owned));
        for (arguments, expected) in [
            ("rustc --crate-name a --extern storage=/t/libdb_core-0a1.rmeta -O", Some("storage")),
            ("rustc --extern=priv,noprelude:storage=libdb_core.rlib", Some("storage")),
            ("rustc --extern other=/t/libdb_core-1.rmeta --extern db_core=/t/libdb_core-2.rmeta", Some("db_core")),
            ("rustc --extern db_core_extra=/t/libdb_core_extra-1.rmeta --extern db_core", None),
            ("rust-analyzer-proc-macro-srv", None),
        ] {
            assert_eq!(name(arguments).as_deref(), expected, "{arguments}");
        }
    }

    #[test]
    fn a_renamed_dependency_is_found_however_it_is_written() {
        for (manifest, expected) in [
            ("[dependencies]\nstorage = { path = \"x\", package = \"db-core\" }", Some("storage")),
            ("[build-dependencies]\nmy-storage = {package=\"db-core\", version = \"1\"}", Some("my_storage")),
            ("[target.'cfg(unix)'.dependencies.storage]\npath = \"x\"\npackage = \"db-core\" # ours", Some("storage")),
            ("[workspace.dependencies]\n\"storage\".package = \"db-core\"", Some("storage")),
            ("[dependencies]\ndb-core = \"1\"\ndb-core-extra = { package = \"db-core-extra\" }", None),
            ("[package]\nname = \"db-core\"", None),
        ] {
            assert_eq!(in_manifest(manifest).as_deref(), expected, "{manifest}");
        }
    }
}
