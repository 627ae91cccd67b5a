//! The exact lines that connect an initiator, with real addresses: people paste them.
//!
//! No secret stands in them. Each reads it from its file, or asks for it.

use std::net::SocketAddr;

use super::plan::{Chap, ChapFile};
use super::quote::{for_powershell, for_qemu, for_shell};

/// All that an initiator has to know.
#[derive(Clone, Debug)]
pub(crate) struct Connect<'a> {
    pub(crate) portal: SocketAddr,
    pub(crate) target: &'a str,
    pub(crate) chap: Option<&'a Chap>,
    /// The name that the initiator has to have, where only some may log in.
    pub(crate) initiator: Option<&'a str>,
    /// Whether other machines are told how to connect too.
    pub(crate) beyond_loopback: bool,
}

impl Connect<'_> {
    /// The lines, under a heading for each initiator.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        section(&mut lines, "Linux:", self.linux());
        section(&mut lines, "QEMU:", self.qemu());
        if self.beyond_loopback {
            section(
                &mut lines,
                "Windows (PowerShell, as administrator):",
                self.windows(),
            );
            section(&mut lines, "ESXi:", self.esxi());
        }
        lines
    }

    /// open-iscsi.
    fn linux(&self) -> Vec<String> {
        let portal = self.portal.to_string();
        let portal = for_shell(&portal);
        let node = format!(
            "sudo iscsiadm -m node -T {} -p {portal}",
            for_shell(self.target)
        );
        let mut lines = Vec::new();
        if let Some(name) = self.initiator {
            lines.push(format!(
                "# with InitiatorName={name} in /etc/iscsi/initiatorname.iscsi"
            ));
        }
        // A record made by hand needs no discovery, and so no credentials for one.
        lines.push(match self.chap {
            Some(chap) if chap.discovery => format!("{node} -o new"),
            _ => format!("sudo iscsiadm -m discovery -t sendtargets -p {portal}"),
        });
        if let Some(chap) = self.chap {
            let mut set = |key: &str, value: &str| {
                lines.push(format!(
                    "{node} -o update -n node.session.auth.{key} -v {value}"
                ));
            };
            set("authmethod", "CHAP");
            set("username", &for_shell(&chap.user.user));
            set("password", &shell_secret(&chap.user));
            if let Some(mutual) = &chap.mutual {
                set("username_in", &for_shell(&mutual.user));
                set("password_in", &shell_secret(mutual));
            }
        }
        lines.push(format!("{node} --login"));
        lines
    }

    /// QEMU's own initiator, libiscsi: no root, no device on the host.
    fn qemu(&self) -> Vec<String> {
        if self.chap.is_none() && self.initiator.is_none() {
            let url = format!("iscsi://{}/{}/0", self.portal, self.target);
            return vec![
                format!("qemu-img info {}", for_shell(&url)),
                format!(
                    "qemu-system-x86_64 -drive {}",
                    for_shell(&format!("if=virtio,format=raw,file={}", for_qemu(&url)))
                ),
            ];
        }
        let mut disk = format!(
            "driver=iscsi,transport=tcp,portal={},target={},lun=0",
            self.portal,
            for_qemu(self.target)
        );
        if let Some(name) = self.initiator {
            disk.push_str(&format!(",initiator-name={}", for_qemu(name)));
        }
        let mut secret = String::new();
        if let Some(chap) = self.chap {
            disk.push_str(&format!(
                ",user={},password-secret=chap",
                for_qemu(&chap.user.user)
            ));
            // qemu-img wants two dashes, and QEMU takes them.
            secret = format!(
                "--object secret,id=chap,file={} ",
                qemu_secret_file(&chap.user)
            );
        }
        vec![
            format!("qemu-img info {secret}--image-opts {}", for_shell(&disk)),
            format!(
                "qemu-system-x86_64 {secret}--blockdev {} --device virtio-blk,drive=disk0",
                for_shell(&format!("node-name=disk0,{disk}"))
            ),
        ]
    }

    fn windows(&self) -> Vec<String> {
        let mut portal = format!(
            "-TargetPortalAddress {} -TargetPortalPortNumber {}",
            self.portal.ip(),
            self.portal.port()
        );
        let mut connect = format!(
            "Connect-IscsiTarget -NodeAddress {} -IsPersistent $true",
            for_powershell(self.target)
        );
        let mut lines = vec!["Start-Service MSiSCSI".to_owned()];
        if let Some(name) = self.initiator {
            lines.push(format!(
                "Set-InitiatorPort -NodeAddress (Get-InitiatorPort -ConnectionType iSCSI).NodeAddress -NewNodeAddress {}",
                for_powershell(name)
            ));
        }
        if let Some(chap) = self.chap {
            lines.push("$secret = Read-Host 'CHAP secret'".to_owned());
            let with_user = |method: &str| {
                format!(
                    " -AuthenticationType {method} -ChapUsername {} -ChapSecret $secret",
                    for_powershell(&chap.user.user)
                )
            };
            if chap.discovery {
                portal.push_str(&with_user("ONEWAYCHAP"));
            }
            if chap.mutual.is_some() {
                lines.push(
                    "Set-IscsiChapSecret -ChapSecret (Read-Host 'secret of the target')".to_owned(),
                );
                connect.push_str(&with_user("MUTUALCHAP"));
            } else {
                connect.push_str(&with_user("ONEWAYCHAP"));
            }
        }
        lines.push(format!("New-IscsiTargetPortal {portal}"));
        lines.push(connect);
        lines
    }

    fn esxi(&self) -> Vec<String> {
        let portal = self.portal.to_string();
        let portal = for_shell(&portal);
        let target = for_shell(self.target);
        let mut lines = vec![
            "esxcli iscsi software set --enabled=true".to_owned(),
            "A=$(esxcli iscsi adapter list | awk '/iscsi_vmk/ {print $1}')".to_owned(),
        ];
        if let Some(name) = self.initiator {
            lines.push(format!(
                "esxcli iscsi adapter set --adapter=$A --name={}",
                for_shell(name)
            ));
        }
        match self.chap {
            None => lines.push(format!(
                "esxcli iscsi adapter discovery sendtarget add --adapter=$A --address={portal}"
            )),
            Some(chap) => {
                // A static target has credentials of its own, and discovery needs none.
                lines.push(format!(
                    "esxcli iscsi adapter discovery statictarget add --adapter=$A --address={portal} --name={target}"
                ));
                let mut set = |direction: &str, user: &ChapFile, prompt: &str| {
                    lines.push(format!("printf '{prompt}: '; read -r -s SECRET"));
                    lines.push(format!(
                        "esxcli iscsi adapter target portal auth chap set --adapter=$A --address={portal} --name={target} \
                         --direction={direction} --level=required --authname={} --secret=\"$SECRET\"",
                        for_shell(&user.user)
                    ));
                };
                set("uni", &chap.user, "CHAP secret");
                if let Some(mutual) = &chap.mutual {
                    set("mutual", mutual, "secret of the target");
                }
            }
        }
        lines.push("esxcli storage core adapter rescan --adapter=$A".to_owned());
        lines
    }
}

fn section(lines: &mut Vec<String>, heading: &str, of: Vec<String>) {
    lines.push(heading.to_owned());
    lines.extend(of.into_iter().map(|line| format!("  {line}")));
}

/// The shell reads it where the line is run; a line break at its end goes, as it does when the target reads it.
fn shell_secret(user: &ChapFile) -> String {
    format!("\"$(cat {})\"", for_shell(&user.file.to_string_lossy()))
}

/// QEMU takes the whole file for the secret, a line break at its end too.
fn qemu_secret_file(user: &ChapFile) -> String {
    let file = user.file.to_string_lossy();
    if user.has_line_end {
        format!("<(tr -d '\\r\\n' <{})", for_shell(&file))
    } else {
        for_shell(&for_qemu(&file)).into_owned()
    }
}

#[cfg(test)]
mod tests;
