//! Golden bytes of each PDU, written from the figures of RFC 7143 §11, and what holds for all of them.

use proptest::prelude::*;

use super::*;
use crate::*;

/// Twelve words, as the RFC's figures draw a header.
fn header(words: [u32; 12]) -> Bhs {
    let mut bhs = Bhs::zeroed();
    for (place, word) in bhs.0.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bhs
}

const LUN: Lun64 = Lun64(0x0001_0002_0003_0004);
const LUN_HIGH: u32 = 0x0001_0002;
const LUN_LOW: u32 = 0x0003_0004;
const ITT: Itt = Itt(0x1617_1819);
const TTT: Ttt = Ttt(0x2021_2223);
const NUMBERS: [u32; 3] = [0x2425_2627, 0x2829_2a2b, 0x3233_3435];
const SN: SerialNumber = SerialNumber(NUMBERS[0]);
const EXP: SerialNumber = SerialNumber(NUMBERS[1]);
const MAX: SerialNumber = SerialNumber(NUMBERS[2]);

/// Words 2 to 8 as most PDUs have them: LUN, two tags, three numbers.
fn usual(first: u32, length: u32, tail: [u32; 3]) -> Bhs {
    let [a, b, c] = NUMBERS;
    let [x, y, z] = tail;
    header([
        first, length, LUN_HIGH, LUN_LOW, ITT.0, TTT.0, a, b, c, x, y, z,
    ])
}

fn without_lun(mut bhs: Bhs) -> Bhs {
    bhs.0[8..16].fill(0);
    bhs
}

fn initiator_golden() -> Vec<(Bhs, InitiatorPdu)> {
    let mut cdb = [0; 16];
    cdb[..4].copy_from_slice(&[0x2a, 0x01, 0x02, 0x03]);
    cdb[15] = 0xff;
    vec![
        (
            header([
                0x4080_0000,
                5,
                LUN_HIGH,
                LUN_LOW,
                ITT.0,
                TTT.0,
                SN.0,
                EXP.0,
                0,
                0,
                0,
                0,
            ]),
            InitiatorPdu::NopOut(NopOut {
                immediate: true,
                data_segment_length: 5,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                cmd_sn: SN,
                exp_stat_sn: EXP,
            }),
        ),
        (
            header([
                0x01a2_0000,
                0x0700_0200,
                LUN_HIGH,
                LUN_LOW,
                ITT.0,
                0x0001_0000,
                SN.0,
                EXP.0,
                0x2a01_0203,
                0,
                0,
                0xff,
            ]),
            InitiatorPdu::ScsiCommand(ScsiCommand {
                immediate: false,
                r#final: true,
                read: false,
                write: true,
                attribute: TaskAttribute::Ordered,
                total_ahs_length: 7,
                data_segment_length: 512,
                lun: LUN,
                itt: ITT,
                expected_data_transfer_length: 65536,
                cmd_sn: SN,
                exp_stat_sn: EXP,
                cdb,
            }),
        ),
        (
            usual(0x4281_0000, 0, [9, 0, 0]),
            InitiatorPdu::TaskManagementRequest(TaskManagementRequest {
                immediate: true,
                function: TaskManagementFunction::AbortTask,
                data_segment_length: 0,
                lun: LUN,
                itt: ITT,
                referenced_task_tag: Itt(TTT.0),
                cmd_sn: SN,
                exp_stat_sn: EXP,
                ref_cmd_sn: MAX,
                exp_data_sn: 9,
            }),
        ),
        (
            header([
                0x4387_0301,
                300,
                0x8001_0203,
                0x0405_0708,
                ITT.0,
                0x0102_0000,
                SN.0,
                EXP.0,
                0,
                0,
                0,
                0,
            ]),
            InitiatorPdu::LoginRequest(LoginRequest {
                transit: true,
                r#continue: false,
                current_stage: Stage::Operational,
                next_stage: Stage::FullFeature,
                version_max: 3,
                version_min: 1,
                data_segment_length: 300,
                isid: Isid([0x80, 1, 2, 3, 4, 5]),
                tsih: Tsih(0x0708),
                itt: ITT,
                cid: Cid(0x0102),
                cmd_sn: SN,
                exp_stat_sn: EXP,
            }),
        ),
        (
            header([
                0x0440_0000,
                16,
                LUN_HIGH,
                LUN_LOW,
                ITT.0,
                TTT.0,
                SN.0,
                EXP.0,
                0,
                0,
                0,
                0,
            ]),
            InitiatorPdu::TextRequest(TextRequest {
                immediate: false,
                r#final: false,
                r#continue: true,
                data_segment_length: 16,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                cmd_sn: SN,
                exp_stat_sn: EXP,
            }),
        ),
        (
            header([
                0x0580_0000,
                8192,
                LUN_HIGH,
                LUN_LOW,
                ITT.0,
                TTT.0,
                0,
                EXP.0,
                0,
                3,
                0x0004_0000,
                0,
            ]),
            InitiatorPdu::DataOut(DataOut {
                r#final: true,
                data_segment_length: 8192,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                exp_stat_sn: EXP,
                data_sn: 3,
                buffer_offset: 0x0004_0000,
            }),
        ),
        (
            header([
                0x4681_0000,
                0,
                0,
                0,
                ITT.0,
                0x0506_0000,
                SN.0,
                EXP.0,
                0,
                0,
                0,
                0,
            ]),
            InitiatorPdu::LogoutRequest(LogoutRequest {
                immediate: true,
                reason: LogoutReason::CloseConnection,
                data_segment_length: 0,
                itt: ITT,
                cid: Cid(0x0506),
                cmd_sn: SN,
                exp_stat_sn: EXP,
            }),
        ),
        (
            header([
                0x1082_0000,
                0,
                LUN_HIGH,
                LUN_LOW,
                ITT.0,
                TTT.0,
                0,
                EXP.0,
                0,
                0,
                4,
                2,
            ]),
            InitiatorPdu::SnackRequest(SnackRequest {
                r#type: SnackType::DataAck,
                data_segment_length: 0,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                exp_stat_sn: EXP,
                beg_run: 4,
                run_length: 2,
            }),
        ),
    ]
}

fn target_golden() -> Vec<(Bhs, TargetPdu)> {
    vec![
        (
            usual(0x2080_0000, 4, [0; 3]),
            TargetPdu::NopIn(NopIn {
                data_segment_length: 4,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
            }),
        ),
        (
            without_lun(usual(0x2192_0102, 20, [6, 7, 8])),
            TargetPdu::ScsiResponse(ScsiResponse {
                bidirectional_overflow: true,
                bidirectional_underflow: false,
                overflow: false,
                underflow: true,
                response: ResponseCode::TargetFailure,
                status: 2,
                data_segment_length: 20,
                itt: ITT,
                snack_tag: TTT.0,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
                exp_data_sn: 6,
                bidirectional_read_residual_count: 7,
                residual_count: 8,
            }),
        ),
        (
            header([
                0x2280_ff00,
                0,
                0x2629_0700,
                0,
                ITT.0,
                0,
                SN.0,
                EXP.0,
                MAX.0,
                0,
                0,
                0,
            ]),
            TargetPdu::TaskManagementResponse(TaskManagementResponse {
                response: TaskManagementResponseCode::FunctionRejected,
                data_segment_length: 0,
                additional_response_information: [0x26, 0x29, 0x07],
                itt: ITT,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
            }),
        ),
        (
            header([
                0x2341_0200,
                44,
                0x8001_0203,
                0x0405_0708,
                ITT.0,
                0,
                SN.0,
                EXP.0,
                MAX.0,
                0x0203_0000,
                0,
                0,
            ]),
            TargetPdu::LoginResponse(LoginResponse {
                transit: false,
                r#continue: true,
                current_stage: Stage::Security,
                next_stage: Stage::Operational,
                version_max: 2,
                version_active: 0,
                data_segment_length: 44,
                isid: Isid([0x80, 1, 2, 3, 4, 5]),
                tsih: Tsih(0x0708),
                itt: ITT,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
                status: LoginStatus::NOT_FOUND,
            }),
        ),
        (
            usual(0x2480_0000, 60, [0; 3]),
            TargetPdu::TextResponse(TextResponse {
                r#final: true,
                r#continue: false,
                data_segment_length: 60,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
            }),
        ),
        (
            usual(0x25c3_0008, 0x00ff_ffff, [1, 2, 3]),
            TargetPdu::DataIn(DataIn {
                r#final: true,
                acknowledge: true,
                overflow: false,
                underflow: true,
                status_present: true,
                status: 8,
                data_segment_length: 0x00ff_ffff,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
                data_sn: 1,
                buffer_offset: 2,
                residual_count: 3,
            }),
        ),
        (
            header([
                0x2680_0300,
                0,
                0,
                0,
                ITT.0,
                0,
                SN.0,
                EXP.0,
                MAX.0,
                0,
                0x0002_0014,
                0,
            ]),
            TargetPdu::LogoutResponse(LogoutResponse {
                response: LogoutResponseCode::CleanupFailed,
                data_segment_length: 0,
                itt: ITT,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
                time2wait: 2,
                time2retain: 20,
            }),
        ),
        (
            usual(0x3180_0000, 0, [1, 0x0001_0000, 0x0004_0000]),
            TargetPdu::ReadyToTransfer(ReadyToTransfer {
                data_segment_length: 0,
                lun: LUN,
                itt: ITT,
                ttt: TTT,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
                r2t_sn: 1,
                buffer_offset: 0x0001_0000,
                desired_data_transfer_length: 0x0004_0000,
            }),
        ),
        (
            header([
                0x3280_0000,
                0,
                LUN_HIGH,
                LUN_LOW,
                0xffff_ffff,
                0,
                SN.0,
                EXP.0,
                MAX.0,
                0x0209_0102,
                0x0304_0506,
                0,
            ]),
            TargetPdu::AsyncMessage(AsyncMessage {
                data_segment_length: 0,
                lun: LUN,
                itt: Itt::RESERVED,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
                async_event: AsyncEvent::ConnectionDropped,
                async_v_code: 9,
                parameter1: 0x0102,
                parameter2: 0x0304,
                parameter3: 0x0506,
            }),
        ),
        (
            header([
                0x3f80_0900,
                48,
                0,
                0,
                0xffff_ffff,
                0,
                SN.0,
                EXP.0,
                MAX.0,
                5,
                0,
                0,
            ]),
            TargetPdu::Reject(Reject {
                reason: RejectReason::InvalidPduField,
                data_segment_length: 48,
                itt: Itt::RESERVED,
                stat_sn: SN,
                exp_cmd_sn: EXP,
                max_cmd_sn: MAX,
                data_sn: 5,
            }),
        ),
    ]
}

#[test]
fn initiator_pdus_golden_bytes_parse_and_emit() {
    for (bhs, pdu) in initiator_golden() {
        assert_eq!(InitiatorPdu::parse(&bhs), Ok(pdu));
        assert_eq!(pdu.emit(), bhs, "{pdu:?}");
        assert_eq!(
            TargetPdu::parse(&bhs),
            Err(ParseError::UnknownOpcode(bhs.opcode()))
        );
    }
}

#[test]
fn target_pdus_golden_bytes_parse_and_emit() {
    for (bhs, pdu) in target_golden() {
        assert_eq!(TargetPdu::parse(&bhs), Ok(pdu));
        assert_eq!(pdu.emit(), bhs, "{pdu:?}");
        assert_eq!(
            InitiatorPdu::parse(&bhs),
            Err(ParseError::UnknownOpcode(bhs.opcode()))
        );
    }
}

#[test]
fn parse_header_of_another_pdu_names_both_opcodes() {
    let bhs = NopOut {
        itt: ITT,
        ..NopOut::default()
    }
    .emit();
    let error = ParseError::UnexpectedOpcode {
        expected: 0x01,
        found: 0x00,
    };
    assert_eq!(ScsiCommand::parse(&bhs), Err(error));
    assert_eq!(error.to_string(), "opcode is not 0x01: 0x00");
}

/// A PDU of each direction's goldens with some bytes overwritten, and the field that is then invalid.
#[test]
fn parse_illegal_contents_name_their_field() {
    let initiator = initiator_golden();
    let target = target_golden();
    // Row of the golden table, from which byte, bytes, field and its byte.
    let of_initiator: [(usize, usize, &[u8], &str, u8); 9] = [
        (0, 4, &[1], "total_ahs_length", 4),
        (1, 16, &[0xff; 4], "itt", 16),
        (1, 1, &[0x40, 0, 0], "final", 1),
        (1, 1, &[0x80, 0, 0], "read", 1),
        (2, 16, &[0xff; 4], "itt", 16),
        (3, 16, &[0xff; 4], "itt", 16),
        (4, 4, &[0xff], "total_ahs_length", 4),
        (5, 16, &[0xff; 4], "itt", 16),
        (6, 16, &[0xff; 4], "itt", 16),
    ];
    for (row, at, bytes, field, byte) in of_initiator {
        let mut bhs = initiator[row].0;
        bhs.0[at..at + bytes.len()].copy_from_slice(bytes);
        let error = Err(ParseError::InvalidField { field, byte });
        assert_eq!(InitiatorPdu::parse(&bhs), error, "{row} {field}");
    }
    let of_target: [(usize, usize, &[u8], &str, u8); 8] = [
        (1, 1, &[0x86], "overflow", 1),
        (1, 1, &[0x98], "bidirectional_overflow", 1),
        (5, 1, &[0x01], "final", 1),
        (5, 1, &[0x87], "overflow", 1),
        (6, 16, &[0xff; 4], "itt", 16),
        (7, 20, &[0xff; 4], "ttt", 20),
        (7, 44, &[0; 4], "desired_data_transfer_length", 44),
        (9, 4, &[1], "total_ahs_length", 4),
    ];
    for (row, at, bytes, field, byte) in of_target {
        let mut bhs = target[row].0;
        bhs.0[at..at + bytes.len()].copy_from_slice(bytes);
        let error = Err(ParseError::InvalidField { field, byte });
        assert_eq!(TargetPdu::parse(&bhs), error, "{row} {field}");
    }
}

#[test]
fn nop_out_without_a_tag_is_legal_only_when_immediate() {
    let silent = NopOut {
        immediate: true,
        itt: Itt::RESERVED,
        ttt: TTT,
        ..NopOut::default()
    };
    assert_eq!(NopOut::parse(&silent.emit()), Ok(silent));
    let counted = NopOut {
        immediate: false,
        ..silent
    };
    let error = ParseError::InvalidField {
        field: "immediate",
        byte: 0,
    };
    assert_eq!(NopOut::parse(&counted.emit()), Err(error));
}

#[test]
fn parse_reserved_bits_set_are_ignored() {
    // Bit 7 of byte 0 in every PDU, and whole reserved bytes of these.
    let reserved: [(usize, &[usize]); 4] = [
        (0, &[2, 3, 32, 47]),
        (2, &[2, 3, 40]),
        (5, &[2, 24, 32, 44]),
        (6, &[2, 8, 22, 36]),
    ];
    for (row, places) in reserved {
        let (mut bhs, pdu) = initiator_golden()[row];
        bhs.0[0] |= 0x80;
        for place in places {
            bhs.0[*place] = 0xff;
        }
        assert_eq!(InitiatorPdu::parse(&bhs), Ok(pdu), "{row}");
    }
    let (mut bhs, pdu) = initiator_golden()[0];
    bhs.0[1] = 0;
    assert_eq!(
        InitiatorPdu::parse(&bhs),
        Ok(pdu),
        "a bit that is always 1 is not looked at"
    );
}

#[test]
fn login_contradictions_parse_for_the_login_to_answer() {
    let request = LoginRequest {
        transit: true,
        r#continue: true,
        current_stage: Stage::Other(2),
        next_stage: Stage::Security,
        itt: ITT,
        ..LoginRequest::default()
    };
    assert_eq!(LoginRequest::parse(&request.emit()), Ok(request));
}

const OPCODES: [u8; 18] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31,
    0x32, 0x3f,
];

proptest! {
    #[test]
    fn parse_any_header_that_parses_emits_and_parses_to_the_same(
        bytes in prop::array::uniform32(any::<u8>()),
        tail in prop::array::uniform16(any::<u8>()),
        opcode in prop::sample::select(&OPCODES[..]),
        ahs in prop::option::of(any::<u8>()),
    ) {
        let mut bhs = Bhs::zeroed();
        bhs.0[..32].copy_from_slice(&bytes);
        bhs.0[32..].copy_from_slice(&tail);
        bhs.0[0] = bhs.0[0] & 0xc0 | opcode;
        bhs.0[4] = ahs.unwrap_or(0);
        if let Ok(pdu) = InitiatorPdu::parse(&bhs) {
            prop_assert_eq!(InitiatorPdu::parse(&pdu.emit()), Ok(pdu));
            prop_assert_eq!(pdu.emit().data_segment_length(), bhs.data_segment_length());
        }
        if let Ok(pdu) = TargetPdu::parse(&bhs) {
            prop_assert_eq!(TargetPdu::parse(&pdu.emit()), Ok(pdu));
            prop_assert_eq!(pdu.emit().itt(), bhs.itt());
        }
    }

    #[test]
    fn parse_any_bytes_of_either_direction_is_a_pdu_of_its_opcode_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 48..=48),
    ) {
        let mut bhs = Bhs::zeroed();
        bhs.0.copy_from_slice(&bytes);
        let opcode = bhs.opcode();
        let known = OPCODES.contains(&opcode);
        let initiator = InitiatorPdu::parse(&bhs);
        let target = TargetPdu::parse(&bhs);
        prop_assert!(initiator.is_err() || target.is_err());
        let unknown = ParseError::UnknownOpcode(opcode);
        prop_assert_eq!(known, initiator != Err(unknown) || target != Err(unknown));
        for emitted in [initiator.map(|pdu| pdu.emit()), target.map(|pdu| pdu.emit())] {
            prop_assert!(emitted.is_err() || emitted.is_ok_and(|bhs| bhs.opcode() == opcode));
        }
    }
}
