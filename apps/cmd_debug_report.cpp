#include "apps/app.h"
#include "base/file.h"
#include "report/report.h"

namespace emberq {
namespace {

struct Options {
  std::string data, output;
};

void run(const Options& options) {
  require_writable(options.output);
  write_file_atomically(options.output, report_page(read_ordered_json(options.data)));
}

}  // namespace

void add_debug_report(CLI::App& debug) {
  CLI::App* command =
      debug.add_subcommand("report", "Make the page of a report from its data (report/report.h)");
  const auto options = std::make_shared<Options>();
  command->add_option("DATA", options->data, "A .json file")->required();
  command->add_option("-o,--output", options->output, "The page, an .html file; replaced if there")
      ->required();
  command->callback([options] { run(*options); });
}

}  // namespace emberq
