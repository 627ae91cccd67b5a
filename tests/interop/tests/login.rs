//! Every path that a login can take, against a target that asks for CHAP: none leads around it.

use anyhow::{Result, ensure};
use initiator::Config;
use interop::client::{LoginEnd, try_login};
use interop::target::TARGET_NAME;
use interop::{Credentials, Driver, Serve, on_each_driver};
use iscsi_wire::{LoginStatus, Stage};

const NAME: &str = "iqn.2026-11.org.example:host1";
const HOST: Credentials = Credentials {
    user: "host1",
    secret: "host1-secret-16b",
};

on_each_driver! {
    no_path_leads_around_chap,
    every_path_is_open_without_authentication,
    unknown_target_is_not_found,
}

/// What a login starts with, where it goes after the security stage, and which methods it offers.
type Path = (Stage, Stage, Option<&'static str>);

const PATHS: [Path; 6] = [
    (Stage::Operational, Stage::Operational, None),
    (Stage::Security, Stage::Operational, Some("None")),
    (Stage::Security, Stage::FullFeature, Some("None")),
    (Stage::Security, Stage::Operational, None),
    (Stage::Security, Stage::FullFeature, None),
    (Stage::Security, Stage::FullFeature, Some("KRB5,None")),
];

fn config((first_stage, after_security, methods): Path, discovery: bool) -> Config {
    let mut config = if discovery {
        Config::discovery(NAME)
    } else {
        Config::normal(NAME, TARGET_NAME)
    };
    config.first_stage = first_stage;
    config.after_security = after_security;
    config.security.clear();
    if let Some(methods) = methods {
        config
            .security
            .push(("AuthMethod".to_owned(), methods.to_owned()));
    }
    config
}

fn no_path_leads_around_chap(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver)
        .ram("16MiB")
        .chap(HOST)?
        .start()?;
    for discovery in [false, true] {
        for path in PATHS {
            let end = try_login(target.portal, config(path, discovery))?;
            // `serve --chap` guards the disks; who may ask for their names is a setting of the daemon.
            let wanted = if discovery {
                LoginEnd::LoggedIn
            } else {
                LoginEnd::Refused(LoginStatus::AUTHENTICATION_FAILURE)
            };
            ensure!(end == wanted, "{path:?}, discovery: {discovery}: {end:?}");
        }
    }
    Ok(())
}

/// The same paths are legal: without this the test above could pass on a target that refuses everything.
fn every_path_is_open_without_authentication(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver).ram("16MiB").start()?;
    for discovery in [false, true] {
        for path in PATHS {
            let end = try_login(target.portal, config(path, discovery))?;
            ensure!(
                end == LoginEnd::LoggedIn,
                "{path:?}, discovery: {discovery}: {end:?}"
            );
        }
    }
    Ok(())
}

fn unknown_target_is_not_found(driver: Driver) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = Serve::new(folder.path(), driver).ram("16MiB").start()?;
    let end = try_login(
        target.portal,
        Config::normal(NAME, "iqn.2026-11.org.example:absent"),
    )?;
    ensure!(end == LoginEnd::Refused(LoginStatus::NOT_FOUND), "{end:?}");
    Ok(())
}
