//! Between the API's words and the model's: changes and values in, mistakes and effects out.

use std::net::SocketAddr;

use control_api::{
    AttributeMap, Effect, EffectAction, Problem, ProblemItem, SECRET_MARK, SessionBrief,
};
use engine::{ApplyError, SessionEffect, TouchedSession};
use model::attributes::ObjectKind;
use model::{Change, Given, Mistake, ObjectPath, Plan, Raw, Touched, Value};
use serde_json::Value as Json;

/// The model's changes for the API's.
///
/// # Errors
/// Every path and value that cannot be one.
pub(super) fn parse_changes(changes: &[control_api::Change]) -> Result<Vec<Change>, Problem> {
    let mut parsed = Vec::new();
    let mut mistakes = Vec::new();
    for change in changes {
        let path: ObjectPath = match change.path().parse() {
            Ok(path) => path,
            Err(model::PathError { reason, hint }) => {
                let mistake = ProblemItem {
                    path: change.path().to_owned(),
                    code: "bad_path".to_owned(),
                    reason,
                    hint,
                    line: None,
                    file: None,
                };
                // What is to stand below a name that is none has the same mistake.
                if !mistakes.iter().any(|told| is_below(told, &mistake)) {
                    mistakes.push(mistake);
                }
                continue;
            }
        };
        let mut given = |attributes: &AttributeMap| parse_given(&path, attributes, &mut mistakes);
        parsed.push(match change {
            control_api::Change::Create { attributes, .. } => Change::Create {
                attributes: given(attributes),
                path,
            },
            control_api::Change::Set { attributes, .. } => Change::Set {
                attributes: given(attributes),
                path,
            },
            control_api::Change::Delete { cascade, .. } => Change::Delete {
                path,
                cascade: *cascade,
            },
        });
    }
    if mistakes.is_empty() {
        Ok(parsed)
    } else {
        Err(Problem::invalid(mistakes))
    }
}

/// Whether a mistake is one that was told already, of an object above.
fn is_below(told: &ProblemItem, mistake: &ProblemItem) -> bool {
    let below = mistake.path.strip_prefix(&told.path);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && (&told.code, &told.reason) == (&mistake.code, &mistake.reason)
}

fn parse_given(
    path: &ObjectPath,
    attributes: &AttributeMap,
    mistakes: &mut Vec<ProblemItem>,
) -> Given {
    let mut given = Given::new();
    for (name, json) in attributes {
        let secret = path
            .kind()
            .attribute(name)
            .is_some_and(model::attributes::Attribute::is_secret);
        let raw = match json {
            Json::Null => None,
            Json::Bool(yes) => Some(Raw::Bool(*yes)),
            Json::Number(number) if number.is_i64() => number.as_i64().map(Raw::Integer),
            // An answer may be sent back as it came: what it did not show stays.
            Json::String(text) if secret && text == SECRET_MARK => continue,
            Json::String(text) => Some(Raw::Text(text.clone())),
            _ => {
                mistakes.push(ProblemItem {
                    path: path.to_string(),
                    code: "bad_value".to_owned(),
                    reason: format!("{name}: a value is a boolean, a whole number or text"),
                    hint: "use one of these, or null for the default".to_owned(),
                    line: None,
                    file: None,
                });
                continue;
            }
        };
        given.insert(name.clone(), raw);
    }
    given
}

/// A value for an answer; a secret is only told to be there.
pub(super) fn json_of(value: &Value) -> Json {
    match value {
        Value::Bool(yes) => Json::Bool(*yes),
        Value::Integer(number) => Json::from(*number),
        Value::Text(text) => Json::String(text.as_ref().to_owned()),
        Value::Secret(_) => Json::String(SECRET_MARK.to_owned()),
    }
}

/// Mistakes of a plan, for whoever asked.
pub(super) fn problem_of(mistakes: Vec<Mistake>) -> Problem {
    let missing = mistakes
        .iter()
        .all(|m| m.error.code == model::ConfigCode::NoSuchObject);
    let only = (missing && mistakes.len() == 1).then(|| mistakes.first().cloned());
    let problem = Problem::invalid(mistakes.into_iter().map(item_of).collect());
    match only.flatten() {
        // The object of the request itself is not there.
        Some(one) if one.attribute.is_none() && one.change == Some(0) => {
            let hint = one.error.hint.into_owned();
            Problem::no_such_object(&one.error.path).with_hint(hint)
        }
        _ => problem,
    }
}

fn item_of(mistake: Mistake) -> ProblemItem {
    let error = mistake.error;
    ProblemItem {
        path: error.path,
        code: error.code.as_str().to_owned(),
        reason: error.reason.into_owned(),
        hint: error.hint.into_owned(),
        line: error.line,
        file: None,
    }
}

/// Why a plan was not carried out, for whoever asked.
pub(super) fn problem_of_apply(error: ApplyError, plan: &Plan) -> Problem {
    match error {
        ApplyError::Stale { current } => Problem::stale_generation(plan.base, current),
        ApplyError::ShuttingDown => Problem::shutting_down(),
        ApplyError::Store { path, problem } => {
            let detail = format!("{path}: {}", problem.reason());
            Problem::new(422, "cannot_open", detail)
                .with_path(path.to_string())
                .with_reason(problem.reason())
                .with_hint(problem.hint())
        }
        ApplyError::Portal { address, .. } => {
            let reason = error.to_string();
            let problem = Problem::new(422, "cannot_listen", reason.as_str()).with_reason(reason);
            match portal_at(plan, address) {
                Some(path) => problem.with_path(path.to_string()),
                None => problem,
            }
        }
        error @ ApplyError::Save(_) => Problem::new(500, "cannot_save", error.to_string())
            .with_hint("see to the state directory; nothing was changed"),
    }
}

/// The portal of a plan that needs a socket at this address.
fn portal_at(plan: &Plan, address: SocketAddr) -> Option<&ObjectPath> {
    let mut portals = plan.touched.iter().filter_map(|touched| {
        let at = match &touched.path {
            ObjectPath::Portal(_, _, at) if touched.after.is_some() => at,
            _ => return None,
        };
        (*at == address).then_some(&touched.path)
    });
    portals.next()
}

/// What a plan does, object by object.
pub(super) fn effects_of(plan: &Plan) -> Vec<Effect> {
    plan.touched.iter().map(effect_of).collect()
}

fn effect_of(touched: &Touched) -> Effect {
    let action = match (&touched.before, &touched.after) {
        (None, _) => EffectAction::Create,
        (_, None) => EffectAction::Delete,
        _ => EffectAction::Modify,
    };
    let names = touched.changed().into_iter().map(str::to_owned);
    Effect {
        path: touched.path.to_string(),
        action,
        attributes: if action == EffectAction::Delete {
            Vec::new()
        } else {
            names.collect()
        },
    }
}

/// A session that a change touches.
pub(super) fn brief_of(touched: &TouchedSession) -> SessionBrief {
    SessionBrief {
        id: touched.id.0,
        initiator: touched.initiator.to_string(),
        target: touched.target.to_string(),
        tpg: touched.tag,
        what: match touched.effect {
            SessionEffect::Ends => "is asked to log out",
            SessionEffect::SeesOtherLuns => "sees another LUN map",
        }
        .to_owned(),
    }
}

/// The kind of this name.
pub(super) fn kind_named(name: &str) -> Option<ObjectKind> {
    ObjectKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name)
}
