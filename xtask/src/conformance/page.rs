//! The page that people read.

use std::fmt::Write;

use crate::conformance::check::path_of;
use crate::conformance::rules::{Place, Rule, Section, State};

const INTRODUCTION: &str = "# Conformance

<!-- Made by `cargo xtask conformance` from docs/conformance/*.rules: change these. -->

What RFC 7143 (iSCSI) and RFC 7144 (its SCSI features update) ask of a **target**, rule by rule, in our words, and where it is
kept. The RFC's own text is what counts: each rule has the number of its section.

- *kept*: the place in the code, and tests that show it;
- *built in*: it cannot be broken, as the thing is made;
- **not kept**: and why;
- *does not apply*: and why.

Every section in which an RFC says MUST, SHALL, SHOULD, REQUIRED or RECOMMENDED stands here, but those on the words themselves. Rules for
initiators only are left out, and sections that have no others are listed at the end. `cargo xtask ci conformance` holds
this page to the lists, and the lists to the sources: a place or a test that is named exists, and what is kept has a test.
";

/// How many rules are in which state.
#[derive(Clone, Copy, Default)]
struct Sum {
    kept: usize,
    built: usize,
    not: usize,
    void: usize,
}

impl Sum {
    fn of<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        rules.fold(Self::default(), |mut sum, rule| {
            *match rule.state {
                State::Kept => &mut sum.kept,
                State::Built(_) => &mut sum.built,
                State::Not(_) | State::Open => &mut sum.not,
                State::Void(_) => &mut sum.void,
            } += 1;
            sum
        })
    }

    fn row(self, name: &str) -> String {
        let Self {
            kept,
            built,
            not,
            void,
        } = self;
        let all = kept + built + not + void;
        format!("| {name} | {all} | {kept} | {built} | {not} | {void} |\n")
    }
}

/// The whole page.
pub(crate) fn write(sections: &[Section]) -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str(&sums(sections));
    page.push_str(&not_kept(sections));
    let mut rfc = "";
    for section in sections.iter().filter(|section| section.none.is_none()) {
        let (of, number) = section.id.split_once('-').unwrap_or(("", &section.id));
        if of != rfc {
            rfc = of;
            push(&mut page, format_args!("\n## RFC {rfc}\n"));
        }
        push(
            &mut page,
            format_args!("\n### §{number} {}\n\n", section.title),
        );
        page.push_str("| rule | | what it asks | what became of it |\n|---|---|---|---|\n");
        for rule in &section.rules {
            let Rule {
                id, level, text, ..
            } = rule;
            let fate = fate(rule);
            push(
                &mut page,
                format_args!("| {id} | {level} | {text} | {fate} |\n"),
            );
        }
    }
    page.push_str("\n## Sections without a rule for targets\n\n");
    for section in sections {
        if let Some(why) = &section.none {
            let id = section.id.replacen('-', " §", 1);
            push(
                &mut page,
                format_args!("- RFC {id} {}: {why}.\n", section.title),
            );
        }
    }
    page
}

fn sums(sections: &[Section]) -> String {
    let mut table =
        "\n| | rules | kept | built in | not kept | do not apply |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for level in ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"] {
        let rules = sections.iter().flat_map(|section| &section.rules);
        // REQUIRED and SHALL mean MUST (RFC 2119).
        let same = |of: &str| match of {
            "REQUIRED" | "SHALL" => level == "MUST",
            of => of == level,
        };
        table.push_str(&Sum::of(rules.filter(|rule| same(&rule.level))).row(level));
    }
    table
}

fn not_kept(sections: &[Section]) -> String {
    let mut text = "\n## Not kept\n\n".to_owned();
    for rule in sections.iter().flat_map(|section| &section.rules) {
        if let State::Not(why) = &rule.state {
            push(
                &mut text,
                format_args!("- {} ({}): {} *{why}.*\n", rule.id, rule.level, rule.text),
            );
        }
    }
    text
}

fn fate(rule: &Rule) -> String {
    let links: Vec<String> = rule.places.iter().map(link).collect();
    let links = links.join(", ");
    let tests: Vec<String> = rule
        .tests
        .iter()
        .map(|test| format!("`{}`", test.name))
        .collect();
    let tests = if tests.is_empty() {
        String::new()
    } else {
        format!("; {}", tests.join(", "))
    };
    match &rule.state {
        State::Open => String::new(),
        State::Kept => format!("kept: {links}{tests}"),
        State::Built(why) => format!("built in: {why} ({links}){tests}"),
        State::Not(why) => format!("**not kept**: {why}"),
        State::Void(why) => format!("does not apply: {why}"),
    }
}

fn link(place: &Place) -> String {
    let Place {
        package,
        file,
        word,
    } = place;
    format!("[{package} `{file}`](../{}) `{word}`", path_of(place))
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes all that is written to it.
    let _whole = page.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::rules;

    #[test]
    fn write_tells_each_state_and_counts_it() {
        let list = "== 7143-1 One\n7143-1-1 MUST It asks.\n  kept a b.rs c\n  test a t\n7143-1-2 REQUIRED More.\n  not too hard\n== 7144-2 Two\n7144-2-1 SHOULD Less.\n  void gone\n== 7144-3 Three\n  none of others\n";
        let mut breaches = Vec::new();
        let page = write(&rules::parse("list", list, &mut breaches));
        for expected in [
            "| MUST | 2 | 1 | 0 | 1 | 0 |",
            "| SHOULD | 1 | 0 | 0 | 0 | 1 |",
            "- 7143-1-2 (REQUIRED): More. *too hard.*",
            "## RFC 7143\n\n### §1 One",
            "| 7143-1-1 | MUST | It asks. | kept: [a `b.rs`](../crates/a/src/b.rs) `c`; `t` |",
            "## RFC 7144\n\n### §2 Two",
            "- RFC 7144 §3 Three: of others.",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
    }
}
