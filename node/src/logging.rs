//! Logs go to standard error; standard output belongs to what was asked for.

mod audit;

use std::io::stderr;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::arguments::{LogArguments, LogFormat};

/// Starts logging; `default` is what is logged when nobody says.
pub(crate) fn start(arguments: &LogArguments, default: &str) -> anyhow::Result<()> {
    let filter = arguments.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        eprintln!("entrepot-node: --log {filter}: {error}; using {default}");
        EnvFilter::new(default)
    });
    let Some(path) = &arguments.audit_log else {
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(stderr);
        match arguments.log_format {
            LogFormat::Text => logs.with_ansi(false).init(),
            LogFormat::Json => logs.json().init(),
        }
        return Ok(());
    };
    let file = audit::Log::open(path)
        .with_context(|| format!("cannot open the audit log {}", path.display()))?;
    let logs = tracing_subscriber::fmt::layer().with_writer(stderr);
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match arguments.log_format {
        LogFormat::Text => logs.with_ansi(false).boxed(),
        LogFormat::Json => logs.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(logs.with_filter(filter))
        .with(file)
        .init();
    Ok(())
}
