#include "apps/app.h"
#include "base/file.h"
#include "base/json.h"
#include "report/report.h"

namespace emberq {
namespace {

struct DebugReportArguments {
  std::string data, output;
};

void run(const DebugReportArguments& options) {
  require_writable(options.output);
  write_file_atomically(options.output, report_page(read_ordered_json(options.data)));
}

}  // namespace

void add_debug_report(Command& debug) {
  Command command =
      debug.subcommand("report", "Make the page of a report from its data (report/report.h)");
  const auto options = std::make_shared<DebugReportArguments>();
  command.option("DATA", options->data, "A .json file").required();
  command.option("-o,--output", options->output, "The page, an .html file; replaced if there")
      .required();
  command.action([options] { run(*options); });
}

}  // namespace emberq
