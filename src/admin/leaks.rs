//! Switches of the leaks, and what they hold.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use leakscope::http::off_runtime;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::object::{Object, two_decimals};
use crate::{
    app::App,
    http::{
        error::{Error, ErrorBody},
        extract::{self, Segment},
    },
    leaks::{Leak, NAMES, Registry, Variant},
    recording::{Event, leaks_on},
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(switch))
        .routes(routes!(switch_all))
        .routes(routes!(clear))
}

/// Every leak: whether it is on and what it holds; and the process's memory.
#[utoipa::path(
    get,
    path = "/admin/leaks/status",
    tag = "leaks",
    responses((status = 200, body = Object, description = "`leaks` by name, `memory`, `previous_run`"))
)]
async fn status(State(app): State<Arc<App>>) -> Json<Object> {
    let report = off_runtime(&app, |app| app.profiles.report()).await;
    let growth_bytes = report.process.rss_bytes as i128 - app.rss_at_start_bytes as i128;
    let memory = Object::default()
        .with_size("rss", report.process.rss_bytes)
        .with_size("vms", report.process.virtual_bytes)
        .with_size("growth_since_start", growth_bytes);
    let previous_run = app.recording.history().post_mortems.first();
    let previous_run =
        previous_run.map(|last| Object::default().with("leaks_on", leaks_on(last)).with("cause", last.cause));
    Json(
        Object::default()
            .with("leaks", held(&app.leaks))
            .with("memory", memory)
            .with("previous_run", previous_run),
    )
}

/// What each leak holds.
pub(super) fn held(leaks: &Registry) -> Object {
    leaks.iter().fold(Object::default(), |object, leak| object.with(leak.name(), one(leak)))
}

fn one(leak: &Leak) -> Object {
    let held = leak.held();
    let object = Object::default()
        .with("enabled", leak.variant().is_some())
        .with("variant", leak.variant())
        .with(leak.facts().count_field, held.entries)
        .with_size("estimated_size", held.payload_bytes)
        .with("bytes_held", held.payload_bytes)
        .with("requests", leak.requests());
    match leak.current_lookups() {
        Some(lookups) => object.with("hit_rate", lookups.hit_rate().map(two_decimals)),
        None => object,
    }
}

const SWITCH_EXAMPLE: &str = r#"{"enabled": true}, with an optional "variant": "leaky", "fixed" or "mine""#;

/// Switches a leak.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Switch {
    /// On or off.
    #[schema(example = true)]
    enabled: bool,
    /// Which implementation to switch on: `leaky` (the default), `fixed`, or `mine`, the learner's in `exercises/`. Ignored
    /// when switching off.
    #[schema(example = "leaky")]
    variant: Option<String>,
}

impl Switch {
    async fn read(body: Body) -> Result<Self, Error> {
        let switch = extract::json(body, SWITCH_EXAMPLE).await?;
        switch.ok_or_else(|| Error::BadJson { problem: "it is empty".into(), example: SWITCH_EXAMPLE })
    }

    /// The variant to switch to; `None`: off.
    fn variant(&self, app: &App) -> Result<Option<Variant>, Error> {
        if !self.enabled {
            return Ok(None);
        }
        let name = self.variant.as_deref().unwrap_or(Variant::Leaky.name());
        let variant = Variant::parse(name).ok_or_else(|| Error::UnknownVariant {
            name: name.to_owned(),
            names: Variant::NAMES.join(", "),
        })?;
        if !app.may_switch_on(variant) {
            return Err(Error::NoLimit);
        }
        Ok(Some(variant))
    }
}

/// Switches one leak on or off. Switching it off keeps what it holds; /admin/leaks/clear gives that back.
#[utoipa::path(
    post,
    path = "/admin/leaks/{leak}",
    tag = "leaks",
    params(("leak" = String, Path, description = "Name of the leak", example = "cache")),
    request_body = Switch,
    responses(
        (status = 200, body = Object, description = "`leak`, `enabled`, `variant`, `description`; `note` where something stays"),
        (status = 404, body = ErrorBody, description = "No leak of that name"),
        (status = 409, body = ErrorBody, description = "There is no memory limit"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn switch(
    State(app): State<Arc<App>>,
    Segment(name): Segment,
    body: Body,
) -> Result<Json<Object>, Error> {
    let leak = app.leaks.get(&name).ok_or_else(|| unknown(&name, &NAMES))?;
    let variant = Switch::read(body).await?.variant(&app)?;
    set(&app, name.clone(), variant).await;
    Ok(Json(switched(leak)))
}

/// Switches all leaks on or off.
#[utoipa::path(
    post,
    path = "/admin/leaks/all",
    tag = "leaks",
    request_body = Switch,
    responses(
        (status = 200, body = Object, description = "`enabled`, and `leaks`: for each what switching it alone answers"),
        (status = 409, body = ErrorBody, description = "There is no memory limit"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn switch_all(State(app): State<Arc<App>>, body: Body) -> Result<Json<Object>, Error> {
    let variant = Switch::read(body).await?.variant(&app)?;
    set(&app, ALL.to_owned(), variant).await;
    let leaks: Vec<_> = app.leaks.iter().map(switched).collect();
    Ok(Json(
        Object::default()
            .with("leak", ALL)
            .with("enabled", variant.is_some())
            .with("variant", variant)
            .with("leaks", leaks),
    ))
}

fn switched(leak: &Leak) -> Object {
    let variant = leak.variant();
    let object = Object::default()
        .with("leak", leak.name())
        .with("enabled", variant.is_some())
        .with("variant", variant)
        .with("description", leak.facts().description);
    let held = leak.held();
    if variant.is_some() || held.entries == 0 {
        return object;
    }
    let kept_mib = two_decimals(held.payload_bytes as f64 / f64::from(1 << 20));
    object.with(
        "note",
        format!(
            "it still holds {} entries ({kept_mib} MiB); POST /admin/leaks/clear {{\"leak_type\": \"{}\"}} gives them back",
            held.entries,
            leak.name()
        ),
    )
}

/// Switches that leak, or all, and writes it down, for the post-mortem of this run and for the labs. The reading before says
/// what the other variant did until then.
async fn set(app: &Arc<App>, name: String, variant: Option<Variant>) {
    off_runtime(app, move |app| {
        app.recording.read_now();
        let meant = app.leaks.iter().filter(|leak| name == ALL || name == leak.name());
        meant.for_each(|leak| leak.set_variant(variant));
        let variant = variant.map(|variant| variant.name().to_owned());
        app.recording.leaks(Event::Switch { leak: name, variant }, &app.leaks);
    })
    .await;
}

const ALL: &str = "all";
const CLEAR_EXAMPLE: &str = r#"{"leak_type": "all"}"#;

/// Which leak to clear.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Clear {
    /// A leak's name, or `all` (the default).
    #[schema(example = "all")]
    leak_type: Option<String>,
}

/// Empties leaks and gives their memory back. Does not switch them off.
#[utoipa::path(
    post,
    path = "/admin/leaks/clear",
    tag = "leaks",
    request_body(content = Clear, description = "May be empty: all leaks"),
    responses(
        (status = 200, body = Object, description = "`cleared`, and the number of things removed"),
        (status = 404, body = ErrorBody, description = "No leak of that name"),
        (status = 422, body = ErrorBody, description = "Wrong fields"),
    )
)]
async fn clear(State(app): State<Arc<App>>, body: Body) -> Result<Json<Object>, Error> {
    let asked: Clear = extract::json(body, CLEAR_EXAMPLE).await?.unwrap_or_default();
    let name = asked.leak_type.unwrap_or_else(|| ALL.to_owned());
    off_runtime(&app, move |app| {
        let only = app.leaks.get(&name);
        if only.is_none() && name != ALL {
            return Err(unknown(&name, &[&NAMES[..], &[ALL]].concat()));
        }
        // What was held stands in the reading before the event, what was left in the one after it.
        app.recording.event(Event::Clear { leak: name.clone() });
        let cleared = Object::default().with("cleared", name);
        let cleared = match only {
            Some(leak) => cleared.with(leak.facts().removed_field, leak.clear()),
            None => app
                .leaks
                .iter()
                .fold(cleared, |object, leak| object.with(leak.facts().removed_of_all_field, leak.clear())),
        };
        app.recording.read_now();
        Ok(Json(cleared))
    })
    .await
}

fn unknown(name: &str, names: &[&str]) -> Error {
    Error::UnknownLeak { name: name.to_owned(), names: names.join(", ") }
}
