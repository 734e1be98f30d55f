//! The pages in a browser, as people read them. `tests/browser/` has the program that drives it.
//!
//! `TRACEPROBE_BROWSER` selects the form: the short one by default; `grid` for every scenario of the demo in every
//! width and colour scheme; `pictures` to draw the pictures of the documentation and, if `TRACEPROBE_PICTURES` names
//! a folder, the first screen of every scenario.

#[path = "../support/mod.rs"]
mod support;

mod demos;
mod driver;
mod scenes;

use self::driver::{Driver, Form};

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_work_in_a_browser() {
    let form = Form::chosen();
    // What is missing is said before anything is started.
    let driver = Driver::ready(form).await;
    match form {
        Form::Short => scenes::check(&driver).await,
        Form::Grid | Form::Pictures => demos::play(&driver).await,
    }
}
