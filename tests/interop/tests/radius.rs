//! The daemon, its RADIUS helper and a real FreeRADIUS server: a login's whole way to whoever knows the secrets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use auth::{ChapAlgorithm, Secret, chap};
use initiator::{Chap, Config, MutualChap};
use interop::client::{LoginEnd, try_login};
use interop::process::{PATIENCE, Process};
use interop::target::{TARGET_NAME, binary};
use iscsi_wire::LoginStatus;

const MD5: u8 = 5;

/// User and secret, as the RADIUS server knows them.
const ALICE: (&str, &str) = ("alice", "alice's long secret");
/// What the target proves itself with: the daemon's own.
const TARGET: (&str, &str) = ("target", "the target's own secret");

const SHARED: &str = "shared with the RADIUS server";
const REFUSED: LoginEnd = LoginEnd::Refused(LoginStatus::AUTHENTICATION_FAILURE);
const NO_ANSWER: LoginEnd = LoginEnd::Refused(LoginStatus::SERVICE_UNAVAILABLE);

/// A FreeRADIUS server with nothing of the machine's configuration.
struct Radius {
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Radius {
    /// A server that does not run yet.
    fn new(shared_secret: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let own = folder.path().display();
        let config = format!(
            r#"
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = "{own}"
logdir = "{own}"
run_dir = "{own}"
pidfile = "{own}/pid"
max_request_time = 5
cleanup_delay = 2
log {{
	destination = files
	file = "{own}/radius.log"
	auth = yes
}}
security {{
	reject_delay = 0
}}
thread pool {{
	start_servers = 1
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 2
	max_requests_per_server = 0
}}
client loopback {{
	ipaddr = 127.0.0.1
	secret = "{shared_secret}"
	require_message_authenticator = yes
}}
modules {{
	chap {{
	}}
	files {{
		filename = "{own}/users"
	}}
}}
server default {{
	listen {{
		type = auth
		ipaddr = 127.0.0.1
		port = {port}
	}}
	authorize {{
		# Servers of before July 2024 sign their replies only where they are told to.
		update reply {{
			&Message-Authenticator := 0x00
		}}
		chap
		files
	}}
	authenticate {{
		Auth-Type CHAP {{
			chap
		}}
	}}
}}
"#,
            port = address.port()
        );
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("radiusd.conf", &config)?;
        write("dictionary", "$INCLUDE /usr/share/freeradius/dictionary\n")?;
        write(
            "users",
            &format!("{} Cleartext-Password := \"{}\"\n", ALICE.0, ALICE.1),
        )?;
        Ok(Self { folder, address })
    }

    fn start(&self) -> Result<Process> {
        let mut command = Command::new("freeradius");
        command
            .args(["-f", "-d"])
            .arg(self.folder.path())
            .stdout(Stdio::null());
        let mut process = Process::start(&mut command, self.folder.path(), "stderr")?;
        let log = self.folder.path().join("radius.log");
        process.log.clone_from(&log);
        let ready = "Ready to process requests";
        let before = process.told().matches(ready).count();
        process.until("freeradius", |it| it.told().matches(ready).count() > before)?;
        Ok(process)
    }
}

/// A daemon that asks a helper, and the helper.
struct Site {
    folder: tempfile::TempDir,
    portal: SocketAddr,
    helper: Process,
    _daemon: Process,
}

impl Site {
    fn start(servers: &[&Radius]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let helper = helper(folder.path(), servers)?;
        let portal = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let daemon = daemon(folder.path(), portal)?;
        Ok(Self {
            folder,
            portal,
            helper,
            _daemon: daemon,
        })
    }

    fn log_in(&self, user: (&str, &str), mutual: Option<&str>) -> Result<LoginEnd> {
        self.log_in_from("host1", user, mutual)
    }

    fn log_in_from(
        &self,
        host: &str,
        user: (&str, &str),
        mutual: Option<&str>,
    ) -> Result<LoginEnd> {
        let config = Config::normal(&format!("iqn.2026-11.org.example:{host}"), TARGET_NAME);
        try_login(self.portal, with_chap(config, user, mutual))
    }
}

fn helper(folder: &Path, servers: &[&Radius]) -> Result<Process> {
    let secret = folder.join("shared.secret");
    std::fs::write(&secret, format!("{SHARED}\n"))?;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
    let socket = folder.join("helper.sock");
    let mut command = Command::new(binary()?.with_file_name("quintain-auth-radius"));
    command.arg("--socket").arg(&socket);
    command.arg("--secret-file").arg(&secret);
    // A pause that a loaded machine does not fill, and short enough for two servers within the daemon's deadline.
    command.args(["--interval-ms", "500", "--tries", "2"]);
    for server in servers {
        command.arg("--server").arg(server.address.to_string());
    }
    let mut process = Process::start(command.stdout(Stdio::null()), folder, "helper.log")?;
    process.until("quintain-auth-radius", |_| socket.exists())?;
    Ok(process)
}

fn daemon(folder: &Path, portal: SocketAddr) -> Result<Process> {
    let desired = format!(
        r#"
[daemon]
auth_helper = "{socket}"
auth_helper_timeout_ms = 5000

[[backstore]]
name = "disk"
type = "ram"
size = "16MiB"

[[target]]
name = "{TARGET_NAME}"

[[target.tpg]]
portals = ["{portal}"]
generate_node_acls = true
luns = [{{ lun = 0, backstore = "disk" }}]
chap = {{ user = "nobody", secret = "a secret of no use to anybody" }}
mutual_chap = {{ user = "{}", secret = "{}" }}
"#,
        TARGET.0,
        TARGET.1,
        socket = folder.join("helper.sock").display(),
    );
    interop::process::daemon(folder, &desired)
}

fn with_chap(mut config: Config, (user, secret): (&str, &str), mutual: Option<&str>) -> Config {
    config.security = vec![("AuthMethod".to_owned(), "CHAP,None".to_owned())];
    config.chap = Some(Chap {
        name: user.to_owned(),
        secret: secret.as_bytes().to_vec(),
        algorithms: vec![8, 7, 6, MD5],
        digest,
        mutual: mutual.map(|secret| MutualChap {
            name: Some(TARGET.0.to_owned()),
            secret: secret.as_bytes().to_vec(),
            identifier: 3,
            challenge: vec![9; 24],
        }),
    });
    config
}

fn digest(algorithm: u8, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    // RADIUS knows no other.
    assert_eq!(algorithm, MD5);
    let secret = Secret::new(secret.to_vec());
    chap::response(ChapAlgorithm::Md5, identifier, &secret, challenge)
}

#[test]
fn users_of_the_radius_server_log_in_and_nobody_else() -> Result<()> {
    let radius = Radius::new(SHARED)?;
    let _server = radius.start()?;
    let site = Site::start(&[&radius])?;
    let table = [
        (ALICE, None, LoginEnd::LoggedIn),
        // The target proves itself with the daemon's secret.
        (ALICE, Some(TARGET.1), LoginEnd::LoggedIn),
        ((ALICE.0, "another secret"), None, REFUSED),
        ((ALICE.0, "another secret"), Some(TARGET.1), REFUSED),
        (("bob", ALICE.1), None, REFUSED),
        // The target's secret, and the credentials that the helper stands in for.
        ((ALICE.0, TARGET.1), None, REFUSED),
        (("nobody", "a secret of no use to anybody"), None, REFUSED),
    ];
    for (user, mutual, expected) in table {
        let end = site.log_in(user, mutual)?;
        ensure!(end == expected, "{user:?}: {end:?}: {}", site.helper.told());
    }
    let discovery = |user| {
        try_login(
            site.portal,
            with_chap(
                Config::discovery("iqn.2026-11.org.example:host1"),
                user,
                None,
            ),
        )
    };
    ensure!(discovery(ALICE)? == LoginEnd::LoggedIn);
    ensure!(discovery((ALICE.0, "another secret"))? == REFUSED);
    // Nobody else talks to the helper, and it says nothing of secrets.
    let mode = std::fs::metadata(site.folder.path().join("helper.sock"))?
        .permissions()
        .mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    for secret in [ALICE.1, TARGET.1, SHARED] {
        ensure!(
            !site.helper.told().contains(secret),
            "{}",
            site.helper.told()
        );
    }
    Ok(())
}

#[test]
fn many_logins_at_once_each_get_their_own_answer() -> Result<()> {
    let radius = Radius::new(SHARED)?;
    let _server = radius.start()?;
    let site = Site::start(&[&radius])?;
    std::thread::scope(|scope| {
        let logins: Vec<_> = (0..40)
            .map(|number| {
                let site = &site;
                scope.spawn(move || {
                    let (secret, expected) = match number % 2 {
                        0 => (ALICE.1, LoginEnd::LoggedIn),
                        _ => ("another secret", REFUSED),
                    };
                    // Each another initiator: a second login of one would take the first's place.
                    let host = format!("host{number}");
                    let end = site.log_in_from(&host, (ALICE.0, secret), None)?;
                    ensure!(end == expected, "{number}: {end:?}: {}", site.helper.told());
                    Ok(())
                })
            })
            .collect();
        for login in logins {
            match login.join() {
                Ok(end) => end?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
}

#[test]
fn server_with_another_shared_secret_lets_nobody_in_and_the_next_is_asked() -> Result<()> {
    let stranger = Radius::new("another shared secret")?;
    let _stranger = stranger.start()?;
    let site = Site::start(&[&stranger])?;
    let end = site.log_in(ALICE, None)?;
    ensure!(end == NO_ANSWER, "{end:?}");
    ensure!(
        site.helper.told().contains("shared secret"),
        "{}",
        site.helper.told()
    );

    let radius = Radius::new(SHARED)?;
    let _server = radius.start()?;
    let site = Site::start(&[&stranger, &radius])?;
    let end = site.log_in(ALICE, None)?;
    ensure!(end == LoginEnd::LoggedIn, "{end:?}: {}", site.helper.told());
    Ok(())
}

#[test]
fn server_that_is_down_lets_nobody_in_until_it_is_up() -> Result<()> {
    let radius = Radius::new(SHARED)?;
    let site = Site::start(&[&radius])?;
    let end = site.log_in(ALICE, None)?;
    ensure!(end == NO_ANSWER, "{end:?}");
    let server = radius.start()?;
    let end = site.log_in(ALICE, None)?;
    ensure!(end == LoginEnd::LoggedIn, "{end:?}: {}", site.helper.told());
    drop(server);
    let end = site.log_in(ALICE, None)?;
    ensure!(end == NO_ANSWER, "{end:?}");
    Ok(())
}

#[test]
fn helper_that_is_killed_lets_nobody_in_until_it_is_back() -> Result<()> {
    let radius = Radius::new(SHARED)?;
    let _server = radius.start()?;
    let mut site = Site::start(&[&radius])?;
    ensure!(site.log_in(ALICE, None)? == LoginEnd::LoggedIn);
    site.helper.child.kill()?;
    site.helper.child.wait()?;
    let end = site.log_in(ALICE, None)?;
    ensure!(end == NO_ANSWER, "{end:?}");
    // It takes the place of the socket that the killed one left behind.
    site.helper = helper(site.folder.path(), &[&radius])?;
    let end = Instant::now() + PATIENCE;
    while site.log_in(ALICE, None)? != LoginEnd::LoggedIn {
        ensure!(Instant::now() < end, "{}", site.helper.told());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
