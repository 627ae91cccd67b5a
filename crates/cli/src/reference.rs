//! The reference page of the command line, made from the definitions that parse it, and held to them by a test.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use crate::CommandLine;
use crate::shell::commands::{COMMANDS, create_parameters, delete_parameters, usage};

const HEAD: &str = "\
# The command line

Made from the program's own definitions; `quintain COMMAND --help` tells the same. (`QUINTAIN_WRITE_REFERENCE=1 cargo test -p cli
reference` makes this page anew.) The page on [the shell](../guides/shell.md) has examples.

Paths are those of the tree, such as `/targets/<iqn>/tpgs/1/luns/0`, and targetcli's spelling of them works too
(`/iscsi/<iqn>/tpg1/luns/lun0`). What an object can be set to is in [attributes.md](attributes.md).

| exit code | when |
|---|---|
| 0 | it is done; of a dry run, nothing would change |
| 1 | it was refused or failed: standard error tells why and what to do, a line for each mistake |
| 2 | the command line itself is wrong |
| 3 | a dry run (`plan`, `--dry-run`) found that something would change |

| variable | what it does |
|---|---|
| `QUINTAIN_SOCKET` | the control socket, where `--socket` does not name one |
| `QUINTAIN_LOG` | what is logged, such as `debug` or `engine=trace` |
| `NO_COLOR` | no colours in the shell |
";

const SHELL: &str = "
## In the shell

A line is `[PATH] COMMAND [VALUE ...] [NAME=VALUE ...]`. A path before the command says where it runs; a path alone goes there.

| command | what it does |
|---|---|
";

const BY_NAME: &str = "
`create` and `delete` take what targetcli's take where things are made by name, by position or as `name=value`; those in
brackets may be left out. `create` takes attributes of the object besides.

| at | |
|---|---|
";

/// Where things are made by name.
const PLACES: &[&str] = &[
    "/backstores/file",
    "/backstores/block",
    "/backstores/ram",
    "/backstores/<type>/<name>/alua",
    "/targets",
    "/targets/<iqn>",
    "/targets/<iqn>/tpgs/<tag>/portals",
    "/targets/<iqn>/tpgs/<tag>/luns",
    "/targets/<iqn>/tpgs/<tag>/acls",
    "/targets/<iqn>/tpgs/<tag>/acls/<initiator>",
];

/// The whole page.
fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut program = CommandLine::command();
    program.build();
    for command in program.get_subcommands_mut() {
        if command.get_name() != "help" {
            add_command(&mut page, command);
        }
    }
    page.push_str(SHELL);
    for command in COMMANDS {
        let usage = match command.usage {
            "" => command.name.to_owned(),
            usage => format!("{} {usage}", command.name),
        };
        let _ = writeln!(page, "| `{}` | {} |", cell(&usage), cell(command.help));
    }
    page.push_str(BY_NAME);
    for place in PLACES {
        let commands = [
            create_parameters(place).map(|parameters| usage("create", parameters)),
            delete_parameters(place).map(|parameters| usage("delete", parameters)),
        ];
        let commands = commands.into_iter().flatten();
        let shown: Vec<String> = commands
            .map(|usage| format!("`{}`", cell(&usage)))
            .collect();
        let _ = writeln!(page, "| `{place}` | {} |", shown.join("<br>"));
    }
    page
}

fn add_command(page: &mut String, command: &mut Command) {
    let _ = writeln!(page, "\n## {}\n", command.get_name());
    let about = command.get_long_about().or_else(|| command.get_about());
    if let Some(about) = about {
        let _ = writeln!(page, "{}\n", sentence(&about.to_string()));
    }
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    for line in usage.lines() {
        let _ = writeln!(page, "    {}", line.trim());
    }
    page.push_str("\n| | |\n|---|---|\n");
    let shown =
        |arg: &&Arg| !matches!(arg.get_id().as_str(), "help" | "version") && !arg.is_hide_set();
    for arg in command.get_arguments().filter(shown) {
        let _ = writeln!(
            page,
            "| `{}` | {} |",
            cell(&spelling(arg)),
            cell(&meaning(arg))
        );
    }
}

fn spelling(arg: &Arg) -> String {
    let values: Vec<String> = match arg.get_num_args() {
        Some(count) if count.takes_values() => {
            let names = arg.get_value_names().unwrap_or_default();
            names.iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    };
    let mut parts: Vec<String> = Vec::new();
    parts.extend(arg.get_short().map(|short| format!("-{short},")));
    parts.extend(arg.get_long().map(|long| format!("--{long}")));
    parts.extend(values);
    parts.join(" ")
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut text = help.map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    let is_flag = arg
        .get_num_args()
        .is_some_and(|count| !count.takes_values());
    if !choices.is_empty() && !is_flag {
        let _ = write!(text, " [{}]", choices.join(", "));
    }
    let default = arg.get_default_values().first();
    if let Some(default) = default.filter(|_| !is_flag) {
        let _ = write!(text, " [default: {}]", default.to_string_lossy());
    }
    text
}

/// One line, with the end of a sentence.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| {
            let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            match line.ends_with(['.', ':']) {
                true => line,
                false => line + ".",
            }
        })
        .collect();
    paragraphs.join("\n\n")
}

/// A text within a table.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|")
}

#[test]
fn reference_page_is_what_the_definitions_say() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
    let page = page();
    if std::env::var_os("QUINTAIN_WRITE_REFERENCE").is_some() {
        std::fs::write(file, &page).expect("the page can be written");
    }
    let kept = std::fs::read_to_string(file).expect("the page is there");
    assert!(
        kept == page,
        "make it anew: QUINTAIN_WRITE_REFERENCE=1 cargo test -p cli reference"
    );
}

#[test]
fn reference_page_has_every_command_and_every_flag() {
    let page = page();
    let mut program = CommandLine::command();
    program.build();
    for command in program.get_subcommands() {
        let name = command.get_name();
        assert!(
            name == "help" || page.contains(&format!("\n## {name}\n")),
            "{name}"
        );
        for flag in command.get_arguments().filter_map(Arg::get_long) {
            let told = flag == "help" || page.contains(&format!("--{flag}"));
            assert!(told, "{name} --{flag}");
        }
    }
    for command in COMMANDS {
        assert!(
            page.contains(&format!("| `{}", command.name)),
            "{}",
            command.name
        );
    }
}
