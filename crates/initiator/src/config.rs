//! What one login offers and how the initiator behaves, all of it the caller's choice.

use std::time::Duration;

use iscsi_wire::{Cid, Isid, SerialNumber, Stage, Tsih};

/// Computes a CHAP response from algorithm, identifier, secret and challenge.
pub type ChapDigest = fn(u8, u8, &[u8], &[u8]) -> Vec<u8>;

/// Everything about one connection that is not the RFC's to say. [`Config::normal`] and [`Config::discovery`] give a
/// well-behaved one; any field may then be changed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The initiator's part of the session ID.
    pub isid: Isid,
    /// Zero for a new session.
    pub tsih: Tsih,
    /// Connection ID.
    pub cid: Cid,
    /// CmdSN of the login and of the first command after it.
    pub initial_cmd_sn: SerialNumber,
    /// ExpStatSN of the first login request.
    pub initial_exp_stat_sn: SerialNumber,
    /// Version-max of the login requests.
    pub version_max: u8,
    /// Version-min of the login requests.
    pub version_min: u8,
    /// The stage the login starts in.
    pub first_stage: Stage,
    /// Where the security stage leads: the operational stage, or straight to full feature.
    pub after_security: Stage,
    /// Keys at the start of the first request, whatever its stage.
    pub identity: Vec<(String, String)>,
    /// Keys of the security stage.
    pub security: Vec<(String, String)>,
    /// Keys of the operational stage.
    pub operational: Vec<(String, String)>,
    /// Credentials, used where the target chooses CHAP.
    pub chap: Option<Chap>,
    /// Bytes of text in one login request; what is longer goes on in the next.
    pub login_segment_bytes: usize,
    /// Whether T stays set in the empty requests that ask a target for the rest of its text. The RFC leaves both open;
    /// without it the stage ends one request later.
    pub transit_while_target_goes_on: bool,
    /// Whether immediate data is sent where it is negotiated.
    pub use_immediate_data: bool,
    /// Whether unsolicited Data-Out PDUs are sent where they are negotiated.
    pub use_unsolicited_data: bool,
    /// Whether the PDUs of a Data-Out sequence leave in another order than that of their bytes, where DataPDUInOrder is
    /// negotiated to No.
    pub scatter_data_out: bool,
    /// Whether an R2T is answered at once. If not, the caller calls [`crate::Initiator::answer_r2t`].
    pub answer_r2ts: bool,
    /// Whether a target's ping is answered at once.
    pub answer_pings: bool,
    /// Whether each PDU received is told in an [`crate::Event::Received`] before what it leads to.
    pub report_pdus: bool,
    /// Whether a Data-In with the A bit is acknowledged, at ErrorRecoveryLevel 1 and above.
    pub acknowledge_data: bool,
    /// How long an answer may take before something is done about it, at ErrorRecoveryLevel 1 and above: a request without
    /// acknowledgement is sent again, what a SNACK asked for is asked for again, and a silent target is pinged. Time is what
    /// [`crate::Initiator::handle_time`] is told.
    pub patience: Duration,
}

/// CHAP credentials (RFC 7143 §12.1.3).
#[derive(Clone, Debug)]
pub struct Chap {
    /// CHAP_N.
    pub name: String,
    /// The secret that proves the name.
    pub secret: Vec<u8>,
    /// Algorithms offered in CHAP_A, by number, in order of preference.
    pub algorithms: Vec<u8>,
    /// Computes responses.
    pub digest: ChapDigest,
    /// Asks the target to prove itself too.
    pub mutual: Option<MutualChap>,
}

/// What the target has to prove.
#[derive(Clone, Debug)]
pub struct MutualChap {
    /// The name expected in the target's CHAP_N, if that matters.
    pub name: Option<String>,
    /// The target's secret.
    pub secret: Vec<u8>,
    /// Our CHAP_I.
    pub identifier: u8,
    /// Our CHAP_C.
    pub challenge: Vec<u8>,
}

impl Config {
    /// A normal session with `target`, without authentication, offering what initiators usually do.
    #[must_use]
    pub fn normal(initiator: &str, target: &str) -> Self {
        let mut config = Self::discovery(initiator);
        config.identity = pairs(&[
            ("InitiatorName", initiator),
            ("TargetName", target),
            ("SessionType", "Normal"),
        ]);
        config.operational.extend(pairs(&[
            ("MaxConnections", "1"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxBurstLength", "262144"),
            ("FirstBurstLength", "65536"),
            ("MaxOutstandingR2T", "1"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
        ]));
        config
    }

    /// A discovery session.
    #[must_use]
    pub fn discovery(initiator: &str) -> Self {
        Self {
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
            tsih: Tsih(0),
            cid: Cid(0),
            initial_cmd_sn: SerialNumber(1),
            initial_exp_stat_sn: SerialNumber(0),
            version_max: 0,
            version_min: 0,
            first_stage: Stage::Security,
            after_security: Stage::Operational,
            identity: pairs(&[("InitiatorName", initiator), ("SessionType", "Discovery")]),
            security: pairs(&[("AuthMethod", "None")]),
            operational: pairs(&[
                ("HeaderDigest", "None"),
                ("DataDigest", "None"),
                ("MaxRecvDataSegmentLength", "262144"),
                ("DefaultTime2Wait", "2"),
                ("DefaultTime2Retain", "0"),
                ("ErrorRecoveryLevel", "0"),
            ]),
            chap: None,
            login_segment_bytes: 8192,
            transit_while_target_goes_on: true,
            use_immediate_data: true,
            use_unsolicited_data: true,
            scatter_data_out: false,
            answer_r2ts: true,
            answer_pings: true,
            report_pdus: false,
            acknowledge_data: true,
            patience: Duration::from_secs(1),
        }
    }

    /// The same with CHAP offered before no authentication.
    #[must_use]
    pub fn with_chap(mut self, chap: Chap) -> Self {
        self.security = pairs(&[("AuthMethod", "CHAP,None")]);
        self.chap = Some(chap);
        self
    }

    /// The same with an operational key set to another value, or added.
    #[must_use]
    pub fn with_key(mut self, key: &str, value: &str) -> Self {
        match self.operational.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.operational.push((key.to_owned(), value.to_owned())),
        }
        self
    }

    /// The same without an operational key.
    #[must_use]
    pub fn without_key(mut self, key: &str) -> Self {
        self.operational.retain(|(name, _)| name != key);
        self
    }
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
