use super::*;

const TARGET: &str = "iqn.2026-11.org.quintain.host:disk";

fn connect<'a>(portal: &str, chap: Option<&'a Chap>, initiator: Option<&'a str>) -> Connect<'a> {
    let portal: SocketAddr = portal.parse().unwrap();
    Connect {
        portal,
        target: TARGET,
        chap,
        initiator,
        beyond_loopback: !portal.ip().is_loopback(),
    }
}

fn chap(mutual: bool, discovery: bool) -> Chap {
    Chap {
        user: ChapFile {
            user: "alice".to_owned(),
            file: "/etc/alice secret".into(),
            has_line_end: true,
        },
        mutual: mutual.then(|| ChapFile {
            user: "disks".to_owned(),
            file: "disks.secret".into(),
            has_line_end: false,
        }),
        discovery,
    }
}

#[test]
fn lines_on_loopback_are_for_this_machine_alone() {
    let lines = connect("127.0.0.1:3260", None, None).lines();
    let expected = [
        "Linux:",
        "  sudo iscsiadm -m discovery -t sendtargets -p 127.0.0.1:3260",
        "  sudo iscsiadm -m node -T iqn.2026-11.org.quintain.host:disk -p 127.0.0.1:3260 --login",
        "QEMU:",
        "  qemu-img info iscsi://127.0.0.1:3260/iqn.2026-11.org.quintain.host:disk/0",
        "  qemu-system-x86_64 -drive if=virtio,format=raw,file=iscsi://127.0.0.1:3260/iqn.2026-11.org.quintain.host:disk/0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn lines_beyond_loopback_are_for_windows_and_esxi_too() {
    let lines = connect("10.0.0.7:3260", None, None).lines();
    let expected = [
        "Windows (PowerShell, as administrator):",
        "  Start-Service MSiSCSI",
        "  New-IscsiTargetPortal -TargetPortalAddress 10.0.0.7 -TargetPortalPortNumber 3260",
        "  Connect-IscsiTarget -NodeAddress 'iqn.2026-11.org.quintain.host:disk' -IsPersistent $true",
        "ESXi:",
        "  esxcli iscsi software set --enabled=true",
        "  A=$(esxcli iscsi adapter list | awk '/iscsi_vmk/ {print $1}')",
        "  esxcli iscsi adapter discovery sendtarget add --adapter=$A --address=10.0.0.7:3260",
        "  esxcli storage core adapter rescan --adapter=$A",
    ];
    assert_eq!(lines[6..], expected);
}

#[test]
fn linux_with_chap_sets_both_directions_from_their_files() {
    let chap = chap(true, false);
    let lines = connect("127.0.0.1:3260", Some(&chap), None).linux();
    let node = format!("sudo iscsiadm -m node -T {TARGET} -p 127.0.0.1:3260");
    let expected = [
        "sudo iscsiadm -m discovery -t sendtargets -p 127.0.0.1:3260".to_owned(),
        format!("{node} -o update -n node.session.auth.authmethod -v CHAP"),
        format!("{node} -o update -n node.session.auth.username -v alice"),
        format!("{node} -o update -n node.session.auth.password -v \"$(cat '/etc/alice secret')\""),
        format!("{node} -o update -n node.session.auth.username_in -v disks"),
        format!("{node} -o update -n node.session.auth.password_in -v \"$(cat disks.secret)\""),
        format!("{node} --login"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn qemu_with_chap_reads_the_secret_from_its_file_without_the_line_end() {
    let mut chap = chap(false, false);
    let lines = connect("[::1]:3260", Some(&chap), Some("iqn.a:1")).qemu();
    let expected = [
        "qemu-img info --object secret,id=chap,file=<(tr -d '\\r\\n' <'/etc/alice secret') --image-opts \
         'driver=iscsi,transport=tcp,portal=[::1]:3260,target=iqn.2026-11.org.quintain.host:disk,lun=0,\
         initiator-name=iqn.a:1,user=alice,password-secret=chap'",
        "qemu-system-x86_64 --object secret,id=chap,file=<(tr -d '\\r\\n' <'/etc/alice secret') --blockdev \
         'node-name=disk0,driver=iscsi,transport=tcp,portal=[::1]:3260,target=iqn.2026-11.org.quintain.host:disk,lun=0,\
         initiator-name=iqn.a:1,user=alice,password-secret=chap' --device virtio-blk,drive=disk0",
    ];
    assert_eq!(lines, expected);
    chap.user.has_line_end = false;
    let plain = connect("127.0.0.1:1", Some(&chap), None).qemu();
    assert!(
        plain[0].contains(" --object secret,id=chap,file='/etc/alice secret' --image-opts driver="),
        "{plain:?}"
    );
}

#[test]
fn windows_and_esxi_with_chap_ask_for_the_secrets() {
    let chap = chap(true, true);
    let connect = connect("10.0.0.7:3260", Some(&chap), Some("iqn.a:1"));
    let windows = [
        "Start-Service MSiSCSI",
        "Set-InitiatorPort -NodeAddress (Get-InitiatorPort -ConnectionType iSCSI).NodeAddress -NewNodeAddress 'iqn.a:1'",
        "$secret = Read-Host 'CHAP secret'",
        "Set-IscsiChapSecret -ChapSecret (Read-Host 'secret of the target')",
        "New-IscsiTargetPortal -TargetPortalAddress 10.0.0.7 -TargetPortalPortNumber 3260 \
         -AuthenticationType ONEWAYCHAP -ChapUsername 'alice' -ChapSecret $secret",
        "Connect-IscsiTarget -NodeAddress 'iqn.2026-11.org.quintain.host:disk' -IsPersistent $true \
         -AuthenticationType MUTUALCHAP -ChapUsername 'alice' -ChapSecret $secret",
    ];
    assert_eq!(connect.windows(), windows);
    let esxi = connect.esxi();
    let position = |part: &str| esxi.iter().position(|line| line.contains(part));
    let order = [
        position("adapter set --adapter=$A --name=iqn.a:1"),
        position("statictarget add --adapter=$A --address=10.0.0.7:3260 --name=iqn."),
        position("--direction=uni --level=required --authname=alice --secret=\"$SECRET\""),
        position("--direction=mutual --level=required --authname=disks --secret=\"$SECRET\""),
        position("rescan"),
    ];
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{esxi:#?}"
    );
}

#[test]
fn lines_where_discovery_asks_for_chap_need_no_discovery() {
    let chap = chap(false, true);
    let lines = connect("10.0.0.7:3260", Some(&chap), Some("iqn.a:1")).lines();
    assert!(
        !lines.iter().any(|line| line.contains("sendtarget")),
        "{lines:#?}"
    );
    assert_eq!(
        lines[1..3],
        [
            "  # with InitiatorName=iqn.a:1 in /etc/iscsi/initiatorname.iscsi".to_owned(),
            format!("  sudo iscsiadm -m node -T {TARGET} -p 10.0.0.7:3260 -o new"),
        ]
    );
}
