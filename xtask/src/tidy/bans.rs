//! Words that may not stand in our sources, each with its reason.

use crate::tidy::source::{Source, words};

/// The one crate with `unsafe`.
const UNSAFE_CRATE: &str = "crates/reactor/";

/// Files that may cite the RFCs which RFC 7143 replaced, each for the old initiator it is compatible with.
const OLD_RFC_FILES: &[(&str, &str)] = &[
    ("xtask/src/tidy/bans.rs", "the rule itself"),
    (
        "crates/iscsi-wire/src/digest.rs",
        "the CRC32C vectors, which RFC 7143 does not repeat",
    ),
];

const OLD_RFCS: &[&str] = &["RFC 3720", "RFC 5048", "RFC3720 §", "RFC5048"];

/// A file of this name collects what nobody could name.
const FILE_NAMES: &[&str] = &["util.rs", "utils.rs", "helpers.rs", "common.rs", "misc.rs"];

const MACROS: &[&str] = &["todo!", "unimplemented!"];

/// Checks one file.
pub(crate) fn check(source: &Source, breaches: &mut Vec<String>) {
    let mut ban = |at: usize, what: &str| {
        breaches.push(format!("{}:{}: {what}", source.path, source.line_of(at)));
    };
    if !source.path.starts_with(UNSAFE_CRATE) {
        words(&source.code, "unsafe").for_each(|at| ban(at, "unsafe outside crate reactor"));
    }
    for function in source.functions() {
        if function.name.starts_with("get_") && function.name != "get_mut" {
            breaches.push(format!(
                "{}:{}: fn {}: say what it is, without get_",
                source.path, function.line, function.name
            ));
        }
    }
    let mut ban = |at: usize, what: &str| {
        breaches.push(format!("{}:{}: {what}", source.path, source.line_of(at)));
    };
    for name in MACROS {
        source
            .code
            .match_indices(name)
            .for_each(|(at, _)| ban(at, "a stub: nothing half done is committed"));
    }
    for (at, _) in source.code.match_indices("#[ignore") {
        ban(at, "an ignored test tells nothing");
    }
    if !OLD_RFC_FILES.iter().any(|(path, _)| *path == source.path) {
        for rfc in OLD_RFCS {
            source.text.match_indices(rfc).for_each(|(at, _)| {
                ban(at, "cite RFC 7143; the older ones only for compatibility (list in xtask/src/tidy/bans.rs)");
            });
        }
    }
    let file = source.path.rsplit('/').next().unwrap_or_default();
    if FILE_NAMES.contains(&file) {
        breaches.push(format!(
            "{}: a file is named after what it holds",
            source.path
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> Vec<String> {
        let mut breaches = Vec::new();
        check(&Source::new(path, text.to_owned()), &mut breaches);
        breaches
    }

    #[test]
    fn each_ban_finds_its_word_and_tells_the_line() {
        let table = [
            (
                "crates/x/src/a.rs",
                "\nfn f() { unsafe { g() } }",
                ":2: unsafe",
            ),
            (
                "crates/x/src/a.rs",
                "fn get_name(&self) {}",
                ":1: fn get_name",
            ),
            ("crates/x/src/a.rs", "fn f() {\n todo!() }", ":2: a stub"),
            (
                "crates/x/src/a.rs",
                "fn f() { unimplemented!() }",
                ":1: a stub",
            ),
            (
                "crates/x/src/a.rs",
                "#[test]\n#[ignore = \"slow\"]\nfn f() {}",
                ":2: an ignored test",
            ),
            (
                "crates/x/src/a.rs",
                "// RFC 3720 §10.2",
                ":1: cite RFC 7143",
            ),
            ("crates/x/src/a.rs", "// see RFC 5048", ":1: cite RFC 7143"),
            ("crates/x/src/util.rs", "", "util.rs: a file is named"),
            (
                "crates/x/src/login/helpers.rs",
                "",
                "helpers.rs: a file is named",
            ),
        ];
        for (path, text, wanted) in table {
            let found = breaches(path, text);
            assert!(
                found.len() == 1 && found[0].contains(wanted),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_banned_word_is_taken() {
        let text = "#![deny(unsafe_op_in_unsafe_fn)]\n// unsafe and todo!\nfn f() { g(\"unsafe #[ignore]\") }\nconst V: &str = \"RFC3720,FastAbort\";\nfn getter() {}\nfn get_mut() {}";
        assert_eq!(breaches("crates/x/src/a.rs", text), Vec::<String>::new());
        assert_eq!(
            breaches("crates/reactor/src/a.rs", "unsafe fn f() {}"),
            Vec::<String>::new()
        );
    }
}
