//! The report in a real browser: a page that is well formed may still be too wide, empty, or complain.

use std::path::Path;

use anyhow::bail;
use xshell::cmd;

use crate::ci::installed;
use crate::project::Project;

/// The width of a small phone.
const WIDTH: u32 = 360;

/// Loads the page at the width of a phone: nothing may stick out, every figure must be drawn, and the console must stay
/// silent. False if there is no browser.
pub(crate) fn check(project: &Project, page: &Path) -> anyhow::Result<bool> {
    let Some(browser) =
        ["chromium", "chromium-browser", "google-chrome"].iter().find(|b| installed(project, b))
    else {
        return Ok(false);
    };
    let (shell, scratch) = (&project.shell, project.shell.create_temp_dir()?);
    let page = shell.read_file(page)?;
    let figures = page.matches("<figure>").count();
    // Headless windows have a least width of their own, so the phone is a frame inside one.
    let (framed, frame) = (scratch.path().join("page.html"), scratch.path().join("frame.html"));
    shell.write_file(&framed, page)?;
    let measure = "onload = () => { const d = document.querySelector('iframe').contentDocument, f = d.documentElement; \
                   const drawn = [...d.querySelectorAll('figure > svg')].filter(s => \
                       s.getBoundingClientRect().height > 50 && s.querySelector('path, polyline, line, circle')); \
                   document.title = [f.scrollWidth - f.clientWidth, f.scrollHeight, drawn.length].join(' '); }";
    shell.write_file(
        &frame,
        format!("<iframe src=\"page.html\" style=\"border:0\" width={WIDTH} height=800></iframe><script>{measure}</script>"),
    )?;
    let user = scratch.path().join("profile");
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--enable-logging=stderr",
    ];
    let dump = cmd!(
        shell,
        "{browser} {flags...} --allow-file-access-from-files --user-data-dir={user} --dump-dom file://{frame}"
    );
    let output = dump.output()?;
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if let Some(complaint) = log.lines().find(|line| line.contains("CONSOLE")) {
        bail!("the browser's console says: {complaint}");
    }
    let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let sizes: Vec<usize> =
        title.map(|(title, _)| title.split(' ').flat_map(str::parse).collect()).unwrap_or_default();
    let [overflow, height, drawn] = sizes[..] else { bail!("the browser did not measure the page") };
    if overflow > 0 || height < 200 {
        bail!("the page is {overflow} pixels too wide for a screen of {WIDTH}, and {height} high");
    }
    if drawn != figures {
        bail!("{drawn} of {figures} figures are drawn");
    }
    Ok(true)
}
