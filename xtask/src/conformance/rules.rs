//! The lists of rules: lines for people, read without a library.
//!
//! ```text
//! # a comment
//! == 7143-7.8 Digest Errors
//! 7143-7.8-1 MUST After a header digest error the rest of the stream is not trusted.
//!     kept iscsi-proto session/input.rs take_some
//!     test iscsi-proto wrong_header_digest_ends_the_connection
//! ```
//!
//! Below a rule stand, indented, what became of it and where:
//!
//! - `kept CRATE FILE WORD`: kept in this file of the crate's `src`, where this word stands; once or more, with
//!   `test CRATE NAME`, once or more.
//! - `built CRATE FILE WORD WHY`: cannot be broken, as this is made.
//! - `not WHY`: not kept.
//! - `void WHY`: does not apply to this target.
//!
//! A section of which nothing binds a target has `none WHY` in place of rules.

/// A section of an RFC.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// `7143-4.2.2.1`.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) rules: Vec<Rule>,
    /// Why there are none.
    pub(crate) none: Option<String>,
    /// List and line, for messages.
    pub(crate) at: String,
}

/// One thing that an RFC asks of a target.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `7143-4.2.2.1-3`.
    pub(crate) id: String,
    pub(crate) level: String,
    pub(crate) text: String,
    pub(crate) state: State,
    pub(crate) places: Vec<Place>,
    pub(crate) tests: Vec<Test>,
    /// List and line, for messages.
    pub(crate) at: String,
}

/// What became of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is said yet.
    Open,
    /// A place keeps it, and a test shows so.
    Kept,
    /// It cannot be broken: why.
    Built(String),
    /// It is not kept: why.
    Not(String),
    /// It does not apply: why.
    Void(String),
}

/// Where a rule is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) package: String,
    /// Below the crate's `src`.
    pub(crate) file: String,
    pub(crate) word: String,
}

/// A test that shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) package: String,
    pub(crate) name: String,
}

const LEVELS: &[&str] = &[
    "MUST",
    "MUST_NOT",
    "SHALL",
    "SHOULD",
    "SHOULD_NOT",
    "REQUIRED",
];

/// Reads one list; what cannot be read becomes a breach and is passed over.
pub(crate) fn parse(list: &str, text: &str, breaches: &mut Vec<String>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let at = format!("{list}:{number}");
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let read = if let Some(heading) = line.strip_prefix("== ") {
            section(heading, at.clone()).map(|section| sections.push(section))
        } else if line.starts_with(' ') {
            let last = sections.last_mut().ok_or("stands before any section");
            last.and_then(|section| detail(line.trim(), section))
        } else {
            let last = sections.last_mut().ok_or("stands before any section");
            last.and_then(|section| {
                rule(line, at.clone(), section).map(|rule| section.rules.push(rule))
            })
        };
        if let Err(what) = read {
            breaches.push(format!("{at}: {what}"));
        }
    }
    sections
}

type Read<T> = Result<T, &'static str>;

fn section(heading: &str, at: String) -> Read<Section> {
    let (id, title) = heading.split_once(' ').ok_or("a section has a title")?;
    Ok(Section {
        id: id.to_owned(),
        title: title.trim().to_owned(),
        rules: Vec::new(),
        none: None,
        at,
    })
}

fn rule(line: &str, at: String, section: &Section) -> Read<Rule> {
    let mut words = line.splitn(3, ' ');
    let (Some(id), Some(level), Some(text)) = (words.next(), words.next(), words.next()) else {
        return Err("a rule is: ID LEVEL what it asks");
    };
    if id != format!("{}-{}", section.id, section.rules.len() + 1) {
        return Err("the rules of a section are numbered from 1 by its own number");
    }
    if !LEVELS.contains(&level) {
        return Err("no such level");
    }
    Ok(Rule {
        id: id.to_owned(),
        level: level.replace('_', " "),
        text: text.trim().to_owned(),
        state: State::Open,
        places: Vec::new(),
        tests: Vec::new(),
        at,
    })
}

fn detail(line: &str, section: &mut Section) -> Read<()> {
    let (verb, rest) = line.split_once(' ').ok_or("nothing after the verb")?;
    if verb == "none" {
        section.none = Some(rest.to_owned());
        return Ok(());
    }
    let rule = section.rules.last_mut().ok_or("stands before any rule")?;
    match verb {
        "kept" => {
            let (place, more) = place(rest)?;
            if !more.is_empty() {
                return Err("kept is: CRATE FILE WORD");
            }
            rule.places.push(place);
            become_(rule, State::Kept)
        }
        "built" => {
            let (place, why) = place(rest)?;
            rule.places.push(place);
            become_(rule, State::Built(why.to_owned()))
        }
        "test" => {
            let (package, name) = rest.split_once(' ').ok_or("test is: CRATE NAME")?;
            rule.tests.push(Test {
                package: package.to_owned(),
                name: name.to_owned(),
            });
            Ok(())
        }
        "not" => become_(rule, State::Not(rest.to_owned())),
        "void" => become_(rule, State::Void(rest.to_owned())),
        _ => Err("no such verb: kept, built, test, not, void, none"),
    }
}

fn place(rest: &str) -> Read<(Place, &str)> {
    let mut words = rest.splitn(4, ' ');
    let (Some(package), Some(file), Some(word)) = (words.next(), words.next(), words.next()) else {
        return Err("a place is: CRATE FILE WORD");
    };
    let place = Place {
        package: package.to_owned(),
        file: file.to_owned(),
        word: word.to_owned(),
    };
    Ok((place, words.next().unwrap_or_default()))
}

/// A rule has one state; `kept` may be said of several places.
fn become_(rule: &mut Rule, state: State) -> Read<()> {
    if rule.state != State::Open && !(rule.state == State::Kept && state == State::Kept) {
        return Err("a rule has one state");
    }
    rule.state = state;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# about\n== 7143-7.8 Digest Errors\n7143-7.8-1 MUST_NOT It asks this.\n    kept a b.rs c\n    kept a d.rs e\n    test a f\n7143-7.8-2 SHOULD And this.\n    built a b.rs c it cannot\n== 7143-7.9 Others\n    none of the initiator only\n";

    #[test]
    fn parse_reads_sections_rules_places_and_tests() {
        let mut breaches = Vec::new();
        let sections = parse("list", LIST, &mut breaches);
        assert_eq!(breaches, Vec::<String>::new());
        let [digests, others] = &sections[..] else {
            panic!("two sections");
        };
        assert_eq!(
            (digests.id.as_str(), digests.title.as_str()),
            ("7143-7.8", "Digest Errors")
        );
        assert_eq!(others.none.as_deref(), Some("of the initiator only"));
        let [first, second] = &digests.rules[..] else {
            panic!("two rules");
        };
        assert_eq!(
            (first.level.as_str(), &first.state),
            ("MUST NOT", &State::Kept)
        );
        assert_eq!((first.places.len(), first.tests.len()), (2, 1));
        assert_eq!(first.at, "list:3");
        assert_eq!(second.state, State::Built("it cannot".to_owned()));
    }

    /// Each row is a change to the list above, and what is said of it.
    #[test]
    fn parse_of_each_mistake_says_it_with_its_line() {
        let table = [
            (
                "7143-7.8-2 SHOULD",
                "7143-7.8-3 SHOULD",
                "list:7: the rules of a section",
            ),
            ("MUST_NOT", "MIGHT", "list:3: no such level"),
            ("    test a f", "    trust a f", "list:6: no such verb"),
            (
                "    test a f",
                "    not it does not",
                "list:6: a rule has one state",
            ),
            ("kept a d.rs e", "kept a d.rs", "list:5: a place is"),
            (
                "== 7143-7.8 Digest Errors",
                "# none",
                "list:3: stands before any section",
            ),
        ];
        for (good, bad, expected) in table {
            let mut breaches = Vec::new();
            parse("list", &LIST.replace(good, bad), &mut breaches);
            assert!(breaches[0].starts_with(expected), "{bad}: {breaches:?}");
        }
    }
}
