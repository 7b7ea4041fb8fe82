//! stub
use crate::*;
/// x
#[derive(Debug)]
pub struct HttpServer;
/// x
#[derive(Debug)]
pub struct HttpOptions;
pub(crate) async fn serve_process(_: HttpServing, _: TestServer) -> std::process::ExitCode {
    todo!()
}
