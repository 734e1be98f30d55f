//! The pages in a browser, as people read them. `tests/browser/` has the program that drives it.
//!
//! `TRACEPROBE_BROWSER` selects the form: by default the brief one, which opens eight pages once; `short` for more
//! pages in three widths, and everything that a reader does with them; `grid` for every scenario of the demo in every
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
        Form::Brief => scenes::check_briefly(&driver).await,
        Form::Short => scenes::check(&driver).await,
        Form::Grid | Form::Pictures => demos::play(&driver).await,
    }
}
