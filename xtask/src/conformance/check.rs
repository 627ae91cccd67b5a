//! Holds the lists to the sources.

use std::collections::{BTreeMap, BTreeSet};

use crate::conformance::rules::{Place, Rule, Section, State, Test};
use crate::tidy::source::{Source, words};

/// Every Rust file, and the names of the tests in it.
pub(crate) struct Sources {
    files: BTreeMap<String, Source>,
    /// (crate, test).
    tests: BTreeSet<(String, String)>,
}

impl Sources {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let mut tests = BTreeSet::new();
        for source in &sources {
            let Some(package) = package_of(&source.path) else {
                continue;
            };
            for name in test_names(source) {
                tests.insert((package.to_owned(), name));
            }
        }
        let files = sources
            .into_iter()
            .map(|source| (source.path.clone(), source))
            .collect();
        Self { files, tests }
    }

    /// What is wrong with a place.
    fn fault_of(&self, place: &Place) -> Option<String> {
        let Place {
            package,
            file,
            word,
        } = place;
        let path = path_of(place);
        let Some(source) = self.files.get(&path) else {
            return Some(format!("there is no {path}"));
        };
        let there = words(&source.code, word).next().is_some();
        (!there).then(|| format!("{package} {file} has no {word}"))
    }

    fn has_test(&self, test: &Test) -> bool {
        self.tests
            .contains(&(test.package.clone(), test.name.clone()))
    }
}

/// The file of a place, from the workspace's folder.
pub(crate) fn path_of(place: &Place) -> String {
    let folder = match place.package.as_str() {
        "xtask" => "xtask".to_owned(),
        "interop" => "tests/interop".to_owned(),
        package => format!("crates/{package}"),
    };
    format!("{folder}/src/{}", place.file)
}

/// `crates/x/...`, `tests/x/...`, `xtask/...`.
fn package_of(path: &str) -> Option<&str> {
    let mut folders = path.split('/');
    match folders.next()? {
        "crates" | "tests" => folders.next(),
        first => Some(first),
    }
}

/// The functions with `#[test]` before them.
fn test_names(source: &Source) -> Vec<String> {
    let code = &source.code;
    let is_test = |at: usize| {
        let before = &code[..at];
        let start = before.rfind(['{', '}', ';']).map_or(0, |brace| brace + 1);
        before[start..].contains("#[test]")
    };
    words(code, "fn")
        .filter(|at| is_test(*at))
        .map(|at| {
            let rest = code[at + 2..].trim_start();
            let word = |c: &char| c.is_alphanumeric() || *c == '_';
            rest.chars().take_while(word).collect()
        })
        .collect()
}

/// Checks every section and rule.
pub(crate) fn check(sections: &[Section], sources: &Sources, breaches: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for section in sections {
        let at = &section.at;
        if !seen.insert(&section.id) {
            breaches.push(format!("{at}: section {} stands twice", section.id));
        }
        if section.rules.is_empty() == section.none.is_none() {
            breaches.push(format!("{at}: a section has rules or says why it has none"));
        }
        for rule in &section.rules {
            check_rule(rule, sources, breaches);
        }
    }
}

fn check_rule(rule: &Rule, sources: &Sources, breaches: &mut Vec<String>) {
    let mut breach = |what: &str| breaches.push(format!("{}: {}: {what}", rule.at, rule.id));
    match &rule.state {
        State::Open => breach("nothing says what became of it"),
        State::Kept if rule.tests.is_empty() => breach("kept, and no test shows it"),
        State::Kept => {}
        State::Built(why) if why.is_empty() => breach("it does not say why it cannot be broken"),
        State::Built(_) => {}
        State::Not(_) | State::Void(_) if !rule.tests.is_empty() => {
            breach("a test of what is not kept shows nothing");
        }
        State::Not(_) | State::Void(_) => {}
    }
    for place in &rule.places {
        if let Some(fault) = sources.fault_of(place) {
            breach(&fault);
        }
    }
    for test in &rule.tests {
        if !sources.has_test(test) {
            breach(&format!("{} has no test {}", test.package, test.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::rules;

    fn sources() -> Sources {
        let code = "fn keeps() {}\n#[cfg(test)]\nmod tests {\n  fn helper() {}\n  #[test]\n  fn keeps_it() {}\n  proptest! {\n    #[test]\n    fn keeps_any(x: u8) {}\n  }\n}\n";
        Sources::new(vec![Source::new("crates/a/src/b.rs", code.to_owned())])
    }

    fn breaches_of(details: &str) -> Vec<String> {
        let mut breaches = Vec::new();
        let list = format!("== 7143-1 One\n7143-1-1 MUST It asks.\n{details}");
        let sections = rules::parse("list", &list, &mut breaches);
        check(&sections, &sources(), &mut breaches);
        breaches
    }

    #[test]
    fn check_of_places_and_tests_that_exist_finds_nothing() {
        for good in [
            "  kept a b.rs keeps\n  test a keeps_it\n  test a keeps_any",
            "  built a b.rs keeps it cannot",
            "  not it is not",
            "  void it is gone",
        ] {
            assert_eq!(breaches_of(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn check_of_each_breach_says_it() {
        for (bad, expected) in [
            ("", "nothing says what became of it"),
            ("  kept a b.rs keeps", "no test shows it"),
            (
                "  kept a c.rs keeps\n  test a keeps_it",
                "there is no crates/a/src/c.rs",
            ),
            (
                "  kept a b.rs keep\n  test a keeps_it",
                "a b.rs has no keep",
            ),
            (
                "  kept a b.rs keeps\n  test a helper",
                "a has no test helper",
            ),
            (
                "  kept a b.rs keeps\n  test b keeps_it",
                "b has no test keeps_it",
            ),
            ("  built a b.rs keeps", "why it cannot be broken"),
            ("  not it is not\n  test a keeps_it", "shows nothing"),
            ("  none nothing", "has rules or says why"),
            ("  void gone\n== 7143-1 One\n  none nothing", "stands twice"),
        ] {
            let breaches = breaches_of(bad).concat();
            assert!(breaches.contains(expected), "{bad}: {breaches}");
        }
    }
}
