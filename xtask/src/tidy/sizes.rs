//! Sizes: a file of 400 lines reads at one sitting; a function of 70 fits a screen and a half.

use crate::tidy::source::Source;

/// Above this many lines without tests a file is warned of.
const FILE_WARN_LINES: usize = 400;
/// Above this many it is refused.
const FILE_MAX_LINES: usize = 800;
/// No function is longer.
const FUNCTION_MAX_LINES: usize = 70;

/// A function that may be longer, up to `lines`. The list only shrinks.
struct Exemption {
    path: &'static str,
    function: &'static str,
    lines: usize,
    reason: &'static str,
}

/// Flat dispatchers and nothing else.
static EXEMPTIONS: &[Exemption] = &[];

/// Checks one file and its functions.
pub(crate) fn check(source: &Source, breaches: &mut Vec<String>, warnings: &mut Vec<String>) {
    let lines = source.non_test_lines();
    if lines > FILE_MAX_LINES {
        breaches.push(format!(
            "{}: {lines} lines without tests, at most {FILE_MAX_LINES}: split it",
            source.path
        ));
    } else if lines > FILE_WARN_LINES {
        warnings.push(format!(
            "{}: {lines} lines without tests, better at most {FILE_WARN_LINES}",
            source.path
        ));
    }
    // A table of golden bytes in a test is as long as it is.
    for function in source
        .functions()
        .into_iter()
        .filter(|function| !function.is_test)
    {
        let most = exemption(&source.path, &function.name).map_or(FUNCTION_MAX_LINES, |e| e.lines);
        if function.lines > most {
            breaches.push(format!(
                "{}:{}: fn {} has {} lines, at most {most}",
                source.path, function.line, function.name, function.lines
            ));
        }
    }
}

/// An exemption that nothing needs any more goes.
pub(crate) fn check_exemptions(sources: &[Source], breaches: &mut Vec<String>) {
    for exemption in EXEMPTIONS {
        let needed = sources
            .iter()
            .filter(|source| source.path == exemption.path)
            .any(|source| {
                source.functions().iter().any(|function| {
                    function.name == exemption.function && function.lines > FUNCTION_MAX_LINES
                })
            });
        if !needed {
            breaches.push(format!(
                "exemption of {} in {} ({}) is not needed any more: remove it",
                exemption.function, exemption.path, exemption.reason
            ));
        }
    }
}

fn exemption(path: &str, function: &str) -> Option<&'static Exemption> {
    EXEMPTIONS
        .iter()
        .find(|e| e.path == path && e.function == function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_and_warnings(text: String) -> (usize, usize) {
        let (mut breaches, mut warnings) = (Vec::new(), Vec::new());
        check(
            &Source::new("crates/x/src/a.rs", text),
            &mut breaches,
            &mut warnings,
        );
        (breaches.len(), warnings.len())
    }

    #[test]
    fn file_at_each_limit_is_taken_and_one_line_more_is_not() {
        assert_eq!(
            breaches_and_warnings("//\n".repeat(FILE_WARN_LINES)),
            (0, 0)
        );
        assert_eq!(
            breaches_and_warnings("//\n".repeat(FILE_WARN_LINES + 1)),
            (0, 1)
        );
        assert_eq!(breaches_and_warnings("//\n".repeat(FILE_MAX_LINES)), (0, 1));
        assert_eq!(
            breaches_and_warnings("//\n".repeat(FILE_MAX_LINES + 1)),
            (1, 0)
        );
    }

    #[test]
    fn function_at_the_limit_is_taken_and_one_line_more_is_not() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "x();\n".repeat(lines - 2));
        assert_eq!(breaches_and_warnings(function(FUNCTION_MAX_LINES)), (0, 0));
        assert_eq!(
            breaches_and_warnings(function(FUNCTION_MAX_LINES + 1)),
            (1, 0)
        );
    }
}
