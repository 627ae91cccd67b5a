use std::fs::Permissions;

use super::*;

fn settings(arguments: &[&str]) -> Result<Settings, clap::Error> {
    let program = ["quintain-auth-radius", "--socket", "s"];
    Settings::try_parse_from(program.iter().chain(arguments))
}

fn secret_file(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file");
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("an own file");
    path.to_str().expect("text").to_owned()
}

#[test]
fn command_line_is_one_that_clap_accepts() {
    use clap::CommandFactory;
    Settings::command().debug_assert();
}

#[test]
fn server_with_or_without_a_port_is_an_address() {
    for (text, expected) in [
        ("192.0.2.1", "192.0.2.1:1812"),
        ("192.0.2.1:1645", "192.0.2.1:1645"),
        ("2001:db8::1", "[2001:db8::1]:1812"),
        ("[2001:db8::1]", "[2001:db8::1]:1812"),
        ("[2001:db8::1]:99", "[2001:db8::1]:99"),
    ] {
        assert_eq!(
            parse_server(text),
            Ok(expected.parse().expect("an address"))
        );
    }
    for text in [
        "",
        "radius.example",
        "192.0.2.1:",
        "192.0.2.1:70000",
        "[::1",
    ] {
        assert!(parse_server(text).is_err(), "{text}");
    }
}

#[test]
fn secrets_one_for_all_or_one_for_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two] = ["one", "two"].map(|name| {
        let text = format!("the {name} secret\n");
        secret_file(folder.path(), name, text.as_bytes(), 0o600)
    });
    let secrets = |servers: usize, files: &[&String]| {
        let mut arguments = Vec::new();
        for _ in 0..servers {
            arguments.extend(["--server", "192.0.2.1"]);
        }
        for file in files {
            arguments.extend(["--secret-file", file]);
        }
        let secrets = settings(&arguments).expect("legal").secrets();
        secrets.map(|secrets| {
            let text = |secret: &SharedSecret| String::from_utf8(secret.to_vec()).expect("text");
            secrets.iter().map(text).collect::<Vec<_>>()
        })
    };
    let [first, second] = ["the one secret", "the two secret"].map(str::to_owned);
    assert_eq!(secrets(2, &[&one]), Ok(vec![first.clone(), first.clone()]));
    assert_eq!(secrets(2, &[&one, &two]), Ok(vec![first, second]));
    assert!(secrets(1, &[&one, &two]).is_err());
    assert!(secrets(3, &[&one, &two]).is_err());
}

#[test]
fn secret_file_that_will_not_do_is_refused_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let longest = [b'x'; MAX_SECRET_BYTES];
    let too_long = [b'x'; MAX_SECRET_BYTES + 1];
    for (bytes, mode, length) in [
        (&b"secret"[..], 0o600, Some(6)),
        (b"secret\n", 0o400, Some(6)),
        (b"secret\r\n", 0o600, Some(6)),
        (b"secret\n\n", 0o600, Some(7)),
        (b" secret ", 0o600, Some(8)),
        (&longest, 0o600, Some(MAX_SECRET_BYTES)),
        (&too_long, 0o600, None),
        (b"", 0o600, None),
        (b"\n", 0o600, None),
        (b"secret", 0o640, None),
        (b"secret", 0o604, None),
    ] {
        let path = secret_file(folder.path(), "secret", bytes, mode);
        let read = read_secret(Path::new(&path));
        assert_eq!(read.as_ref().ok().map(|read| read.len()), length);
        assert!(read.err().is_none_or(|told| told.contains(&path)));
        std::fs::remove_file(path).expect("its own file");
    }
    let absent = read_secret(&folder.path().join("absent"));
    assert!(absent.is_err_and(|told| told.contains("absent")));
}

#[test]
fn listen_replaces_a_socket_that_nobody_listens_on_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let first = listen(&path).expect("a free path");
    let told = listen(&path).expect_err("taken");
    assert!(told.contains("another program"), "{told}");
    drop(first);
    drop(listen(&path).expect("a stale socket is replaced"));
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").expect("a file");
    let told = listen(&file).expect_err("a file is there");
    assert!(told.contains("another kind"), "{told}");
    assert_eq!(std::fs::read(&file).expect("still there"), b"mine");
    assert!(listen(&folder.path().join("absent/socket")).is_err());
}
