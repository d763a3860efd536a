//! Hooks of jobs: a command or a webhook that is called with the result of the job, or of one of its loads. A failure of a hook is
//! reported, but does not change the results of the loads.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrowload::Connections;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::exit::Failure;
use crate::http;
use crate::show::complain;

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(60);
/// How long one request may take, unless the hook says it.
const REQUEST: Duration = Duration::from_secs(10);
/// The pauses before a request is repeated.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// How long an interrupted command waits for its hooks.
const AT_INTERRUPT: Duration = Duration::from_secs(10);

/// What is run or called: a text for `sh -c`, a program with its arguments, or a webhook.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Hook {
    /// A command line, which the shell runs.
    Shell(String),
    /// A program and its arguments.
    Program(Vec<String>),
    /// A URL that the report is sent to.
    Webhook(Webhook),
}

/// A URL that the report is sent to, by POST as JSON.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// The URL. A part of it that is secret is best a reference: `${env:NAME}`, `${file:/path}`.
    url: Hidden,
    /// Headers by name. What is secret is best a reference: `{ Authorization = "Bearer ${env:TOKEN}" }`.
    #[serde(default)]
    headers: BTreeMap<String, Hidden>,
    /// How long one of three requests may take; by default 10s.
    timeout: Option<String>,
}

/// A text that may be secret.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

// By hand, as serde's untagged enums do not say which key is wrong.
impl<'de> Deserialize<'de> for Hook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Hook;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command line, a list of a program and its arguments, or a table with a `url`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Hook, E> {
                Ok(Hook::Shell(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hook, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Hook::Program(words))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Hook, A::Error> {
                Webhook::deserialize(MapAccessDeserializer::new(map)).map(Hook::Webhook)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// What a job, or a load of it, calls at its end.
#[derive(Debug, Clone, Default)]
#[cfg_attr(test, derive(Deserialize))]
pub(crate) struct Hooks {
    /// Called when it has ended well.
    pub(crate) on_success: Option<Hook>,
    /// Called when it has failed or was interrupted.
    pub(crate) on_failure: Option<Hook>,
}

/// A hook whose references are resolved.
enum Ready {
    Command(String, Vec<String>),
    Webhook {
        url: Url,
        headers: HeaderMap,
        timeout: Duration,
    },
}

impl Hooks {
    /// Refuses a hook that cannot be called; `place` is the job or load that it belongs to.
    fn ready(&self, place: &str) -> Result<[Option<Arc<Ready>>; 2], Failure> {
        let ready = |name: &str, hook: &Option<Hook>| {
            let ready = hook.as_ref().map(Hook::ready).transpose();
            let refused = |why| Failure::usage(format!("{place}{name}: {why}"));
            Ok::<_, Failure>(ready.map_err(refused)?.map(Arc::new))
        };
        Ok([
            ready("on_success", &self.on_success)?,
            ready("on_failure", &self.on_failure)?,
        ])
    }
}

impl Hook {
    fn ready(&self) -> Result<Ready, String> {
        match self {
            Self::Shell(line) if line.trim().is_empty() => Err("the command is empty".into()),
            Self::Shell(line) => {
                let (shell, flag) = match cfg!(windows) {
                    true => ("cmd", "/C"),
                    false => ("sh", "-c"),
                };
                let arguments = vec![flag.to_owned(), line.clone()];
                Ok(Ready::Command(shell.to_owned(), arguments))
            }
            Self::Program(words) => match words.split_first() {
                Some((program, rest)) if !program.is_empty() => {
                    Ok(Ready::Command(program.clone(), rest.to_vec()))
                }
                _ => Err("the list names no program".into()),
            },
            Self::Webhook(hook) => hook.ready(),
        }
    }
}

impl Webhook {
    fn ready(&self) -> Result<Ready, String> {
        let resolve = |text: &Hidden, what: &str| {
            let resolved = Connections::resolve(&text.0);
            resolved.map_err(|error| format!("{what}: {}", error.message()))
        };
        let url = resolve(&self.url, "url")?;
        let url = Url::parse(url.expose())
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
            .ok_or("url: not a URL of http or https")?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, text) in &self.headers {
            let what = format!("headers.{name}");
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("{what}: not a name of a header"))?;
            let value = resolve(text, &what)?;
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| format!("{what}: its value has characters that a header cannot"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let timeout = match &self.timeout {
            None => REQUEST,
            Some(text) => humantime::parse_duration(text)
                .map_err(|_| format!("timeout: `{text}` is not a time such as 10s"))?,
        };
        Ok(Ready::Webhook {
            url,
            headers,
            timeout,
        })
    }
}

/// The hooks of a run: those that are called, and how they have ended.
#[derive(Clone)]
pub(crate) struct Calls(Arc<State>);

struct State {
    job: String,
    run: String,
    own: [Option<Arc<Ready>>; 2],
    loads: BTreeMap<String, [Option<Arc<Ready>>; 2]>,
    running: tokio::sync::Mutex<JoinSet<()>>,
    told: Mutex<Vec<Value>>,
    /// The job's own hook is called once, also if an interrupt comes while it runs.
    job_has_ended: AtomicBool,
}

impl Calls {
    /// Refuses what cannot be called.
    pub(crate) fn new<'a>(
        (job, run): (&str, &str),
        own: &Hooks,
        loads: impl Iterator<Item = (&'a String, Hooks)>,
    ) -> Result<Self, Failure> {
        let ready = |(name, hooks): (&String, Hooks)| {
            Ok((name.clone(), hooks.ready(&format!("loads.{name}."))?))
        };
        Ok(Self(Arc::new(State {
            job: job.to_owned(),
            run: run.to_owned(),
            own: own.ready("")?,
            loads: loads.map(ready).collect::<Result<_, Failure>>()?,
            running: tokio::sync::Mutex::default(),
            told: Mutex::default(),
            job_has_ended: AtomicBool::new(false),
        })))
    }

    /// Calls the hook of a load, or without a name that of the job, with the result. Does not wait for it.
    pub(crate) async fn tell(&self, load: Option<&str>, is_well: bool, report: &Value) {
        if load.is_none() && self.0.job_has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let hooks = match load {
            None => Some(&self.0.own),
            Some(load) => self.0.loads.get(load),
        };
        let Some(hook) = hooks.and_then(|hooks| hooks[usize::from(!is_well)].clone()) else {
            return;
        };
        let name = if is_well { "on_success" } else { "on_failure" };
        let (calls, load) = (self.clone(), load.map(str::to_owned));
        let mut report = report.clone();
        report["job"] = self.0.job.clone().into();
        report["run"] = self.0.run.clone().into();
        if let Some(load) = &load {
            report["load"] = load.clone().into();
        }
        self.0.running.lock().await.spawn(async move {
            let why = calls
                .call(&hook, name, load.as_deref(), &report)
                .await
                .err();
            if let Some(why) = &why {
                let of = load.as_deref().map(|load| format!("loads.{load}."));
                complain(&format!(
                    "the hook {}{name} failed: {why}",
                    of.unwrap_or_default()
                ));
            }
            let status = if why.is_none() { "done" } else { "failed" };
            let mut told = calls.0.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(json!({ "hook": name, "load": load, "status": status, "message": why }));
        });
    }

    /// Waits until all hooks have ended.
    pub(crate) async fn ended(&self) {
        let mut running = self.0.running.lock().await;
        while running.join_next().await.is_some() {}
    }

    /// The same for a command that is interrupted: not for long.
    pub(crate) async fn ended_soon(&self) {
        if tokio::time::timeout(AT_INTERRUPT, self.ended())
            .await
            .is_err()
        {
            complain("a hook takes too long, and is stopped");
            self.0.running.lock().await.shutdown().await;
        }
    }

    /// How hooks have ended.
    pub(crate) fn told(&self) -> Vec<Value> {
        let told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    async fn call(
        &self,
        hook: &Ready,
        name: &str,
        load: Option<&str>,
        report: &Value,
    ) -> Result<(), String> {
        let body = report.to_string();
        match hook {
            Ready::Command(program, arguments) => {
                let mut command = Command::new(program);
                command
                    .args(arguments)
                    .env("ARROWLOAD_HOOK", name)
                    .env("ARROWLOAD_JOB", &self.0.job)
                    .env("ARROWLOAD_RUN_ID", &self.0.run)
                    .env("ARROWLOAD_LOAD", load.unwrap_or_default())
                    .env(
                        "ARROWLOAD_STATUS",
                        report["status"].as_str().unwrap_or_default(),
                    );
                let running = run(command, body);
                let late = |_| format!("it took longer than {} seconds", COMMAND.as_secs());
                tokio::time::timeout(COMMAND, running).await.map_err(late)?
            }
            Ready::Webhook {
                url,
                headers,
                timeout,
            } => post(url, headers, *timeout, &body).await,
        }
    }
}

/// Runs a command. What it prints is not part of what this program prints.
async fn run(mut command: Command, input: String) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it does not start: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // The command need not read its input.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(()),
        false => Err(status.to_string()),
    }
}

/// Sends a report; retries after transient failures.
async fn post(url: &Url, headers: &HeaderMap, timeout: Duration, body: &str) -> Result<(), String> {
    let no_client = |_| "there is no HTTP client".to_owned();
    let client = http::client(timeout).map_err(no_client)?;
    let mut pauses = PAUSES.into_iter();
    loop {
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = headers.clone();
        *request.body_mut() = Some(body.to_owned().into());
        let (why, may_pass) = match client.execute(request).await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => (
                format!("it answered {}", response.status()),
                passes(&response),
            ),
            Err(error) => (http::why(error), true),
        };
        match pauses.next() {
            Some(pause) if may_pass => tokio::time::sleep(pause).await,
            _ => return Err(why),
        }
    }
}

fn passes(response: &Response) -> bool {
    let status = response.status();
    status.is_server_error() || [408, 425, 429].contains(&status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_understood_or_refused_without_its_secrets() {
        let hook = |text: &str| {
            let hooks: Hooks = toml::from_str(&format!("on_failure = {text}"))?;
            Ok::<_, toml::de::Error>(hooks)
        };
        for good in [
            "'echo $ARROWLOAD_JOB'",
            "['notify', '--now']",
            "{ url = 'https://example.com/x', headers = { A = 'b${env:NONE:-hunter2}' }, timeout = '2s' }",
        ] {
            let hooks = hook(good).expect(good);
            assert!(hooks.ready("").is_ok(), "{good}");
            assert!(!format!("{hooks:?}").contains("hunter2"), "{hooks:?}");
        }
        for (wrong, words) in [
            ("''", "on_failure: the command is empty"),
            ("[]", "names no program"),
            ("{ url = 'hunter2' }", "not a URL of http or https"),
            (
                "{ url = 'https://x', headers = { A = '${env:ARROWLOAD_NONE}' } }",
                "headers.A: the environment variable ARROWLOAD_NONE",
            ),
            (
                "{ url = 'https://x', headers = { A = \"hunter2\\n\" } }",
                "headers.A: its value",
            ),
            ("{ url = 'https://x', timeout = 'soon' }", "timeout: `soon`"),
        ] {
            let refused = hook(wrong).expect(wrong).ready("").err();
            let Some(Failure::Usage(text)) = refused else {
                panic!("{wrong}: {refused:?}");
            };
            assert!(text.contains(words) && !text.contains("hunter2"), "{text}");
        }
        let unknown = hook("{ url = 'https://x', header = {} }").expect_err("unknown");
        assert!(
            unknown.to_string().contains("unknown field `header`"),
            "{unknown}"
        );
    }
}
