//! Running the bookings service.

use crate::args::ServiceArgs;
use crate::failure::Failure;
use crate::serve::{end_on_panic, log, refused};
use crate::show::Out;
use frontrow_server::{config, signals};
use serde_json::json;

pub(crate) fn run(args: &ServiceArgs, out: Out) -> Result<(), Failure> {
    end_on_panic();
    let config = config::load(args.config.as_deref()).map_err(|mistakes| refused(mistakes.to_string()))?;
    log(&config);
    let running = frontrow_service::start(&config).map_err(|error| refused(error.to_string()))?;
    let http = running.http;
    let text =
        format!("Bookings are answered at http://{http}/v1/bookings, status at http://{http}/v1/status");
    // Once signals are waited for: whoever reads this may send one at once.
    let ready = async {
        out.say(&json!({"ok": true, "http": http, "text": text}), &text);
        std::future::pending::<()>().await;
    };
    signals::until_told(ready).map_err(|error| refused(format!("no signals can be waited for: {error}")))?;
    running.stop();
    Ok(())
}
