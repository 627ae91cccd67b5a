//! Words for command lines that people paste: quoted only where they have to be.

use std::borrow::Cow;

/// A word for a POSIX shell.
pub(crate) fn for_shell(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:,=@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// A literal string for PowerShell.
pub(crate) fn for_powershell(word: &str) -> String {
    // It takes the typographic quotes for the plain one, and doubling escapes each of them.
    let mut quoted = String::from("'");
    for c in word.chars() {
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

/// A value in one of QEMU's lists of options, where a comma ends it.
pub(crate) fn for_qemu(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_shell_quotes_what_a_shell_would_change() {
        let table = [
            (
                "iscsi://127.0.0.1:3260/iqn.x:y/0",
                "iscsi://127.0.0.1:3260/iqn.x:y/0",
            ),
            ("[::1]:3260", "'[::1]:3260'"),
            ("my file", "'my file'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("~root", "'~root'"),
            ("", "''"),
            ("ümlaut", "'ümlaut'"),
        ];
        for (word, quoted) in table {
            assert_eq!(for_shell(word), quoted);
        }
    }

    #[test]
    fn for_powershell_and_qemu_double_what_ends_a_value() {
        assert_eq!(for_powershell("it's $x"), "'it''s $x'");
        assert_eq!(for_powershell("a\u{2019}b"), "'a\u{2019}\u{2019}b'");
        assert_eq!(for_qemu("a,b"), "a,,b");
    }
}
