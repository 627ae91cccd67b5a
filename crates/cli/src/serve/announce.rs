//! What standard output is told once every portal serves: a page for people, or one line for scripts.

use std::net::SocketAddr;
use std::path::Path;

use engine::{Engine, UnitReport};
use serde_json::{Value, json};

use super::hints::Connect;
use super::plan::{Disk, Plan};
use super::reach::{Reach, outward_address};
use super::size::show_size;
use crate::log::one_line;

/// What runs, as far as people and scripts are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) portals: Vec<SocketAddr>,
    pub(crate) units: Vec<UnitReport>,
    /// The driver's name.
    pub(crate) driver: String,
    /// The same, with what the system refused.
    pub(crate) driver_report: String,
    pub(crate) workers: usize,
    pub(crate) pid: u32,
}

impl Running {
    /// As the engine runs, which was asked to listen there.
    pub(crate) fn of(engine: &Engine, listen: &[SocketAddr]) -> Self {
        Self {
            portals: in_order(engine.portals(), listen),
            units: engine.units().to_vec(),
            driver: engine.driver().kind.to_string(),
            driver_report: engine.driver().to_string(),
            workers: engine.workers(),
            pid: std::process::id(),
        }
    }
}

/// The portals in the order in which they were asked for; those of one address with ports that the system chose, by their ports.
fn in_order(mut portals: Vec<SocketAddr>, listen: &[SocketAddr]) -> Vec<SocketAddr> {
    portals.sort_by_key(|portal| {
        let asked = listen.iter().position(|asked| asked == portal);
        let is_free = |asked: &SocketAddr| asked.port() == 0 && asked.ip() == portal.ip();
        let place = asked.or_else(|| listen.iter().position(is_free));
        (place.unwrap_or(listen.len()), *portal)
    });
    portals
}

/// One line of JSON, without its line end.
pub(crate) fn json_line(plan: &Plan, running: &Running) -> String {
    let portals: Vec<String> = running.portals.iter().map(SocketAddr::to_string).collect();
    let luns: Vec<Value> = plan
        .disks
        .iter()
        .zip(&running.units)
        .enumerate()
        .map(|(lun, (disk, unit))| json_lun(lun, disk, unit))
        .collect();
    json!({
        "portals": portals,
        "target": plan.target.as_str(),
        "pid": running.pid,
        "driver": running.driver,
        "workers": running.workers,
        "luns": luns,
    })
    .to_string()
}

fn json_lun(lun: usize, disk: &Disk, unit: &UnitReport) -> Value {
    let mut value = json!({
        "lun": lun,
        "serial": unit.serial,
        "naa": naa(unit),
        "size_bytes": unit.size_bytes,
        "block_size": unit.block_size_bytes,
    });
    match disk {
        Disk::Path(path) => value["path"] = absolute(path).into(),
        Disk::Ram { .. } => value["ram"] = true.into(),
        Disk::Cdrom(path) => {
            value["path"] = absolute(path).into();
            value["cdrom"] = true.into();
        }
    }
    value
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    let path = absolute.as_deref().unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// 16 hexadecimal digits, as initiators show it.
fn naa(unit: &UnitReport) -> String {
    format!("{:016x}", unit.naa)
}

/// The page for people, with its last line end.
pub(crate) fn page(plan: &Plan, running: &Running) -> String {
    let reach = Reach::best(&running.portals, outward_address);
    let mut lines = vec![format!("serving {}", plan.target), String::new()];
    for (lun, (disk, unit)) in plan.disks.iter().zip(&running.units).enumerate() {
        lines.push(disk_line(lun, disk, unit));
    }
    lines.push(String::new());
    for portal in &running.portals {
        lines.push(format!("  at {portal}{}", remark(*portal, reach)));
    }
    lines.push(format!("  for {}", who(plan)));
    lines.push(format!("  by {}", workers(running)));
    lines.push(String::new());
    if let Some(reach) = reach {
        let connect = Connect {
            portal: reach.address,
            target: plan.target.as_str(),
            chap: plan.chap.as_ref(),
            initiator: plan.initiators.first().map(|name| name.as_str()),
            beyond_loopback: reach.beyond_loopback,
        };
        lines.extend(connect.lines());
        lines.push(String::new());
    }
    lines.push("Ctrl-C ends it in order.".to_owned());
    let mut page: Vec<String> = lines.iter().map(|line| one_line(line)).collect();
    page.push(String::new());
    page.join("\n")
}

fn disk_line(lun: usize, disk: &Disk, unit: &UnitReport) -> String {
    let what = match disk {
        Disk::Path(path) => path.display().to_string(),
        Disk::Ram { .. } => "memory".to_owned(),
        Disk::Cdrom(path) => format!("the disc {}", path.display()),
    };
    format!(
        "  LUN {lun}: {what}, {} in blocks of {}, serial {}, naa.{}",
        show_size(unit.size_bytes),
        unit.block_size_bytes,
        unit.serial,
        naa(unit)
    )
}

fn remark(portal: SocketAddr, reach: Option<Reach>) -> String {
    if portal.ip().is_loopback() {
        ", this machine only".to_owned()
    } else if portal.ip().is_unspecified() {
        match reach {
            Some(reach) if reach.address.port() == portal.port() => {
                format!(", every address of this machine, as {}", reach.address)
            }
            _ => ", every address of this machine".to_owned(),
        }
    } else {
        String::new()
    }
}

fn who(plan: &Plan) -> String {
    let mut who = if plan.initiators.is_empty() {
        "any initiator".to_owned()
    } else {
        let names: Vec<&str> = plan.initiators.iter().map(|name| name.as_str()).collect();
        names.join(", ")
    };
    if let Some(chap) = &plan.chap {
        who.push_str(&format!(" that proves to be {} by CHAP", chap.user.user));
    }
    who
}

fn workers(running: &Running) -> String {
    let noun = if running.workers == 1 {
        "worker"
    } else {
        "workers"
    };
    format!(
        "{} {noun}, driver {}",
        running.workers, running.driver_report
    )
}

#[cfg(test)]
mod tests;
