#pragma once

#include <CLI/CLI.hpp>
#include <string>

// What CLI11 leaves open, in one place for all commands.
namespace emberq {

// Has every option of every command refuse an empty value (CLI11 takes it for 0, or for a file of
// no name), and a number be decimal and finite. An empty text can be given to --prompt alone.
void check_values(CLI::App& app);

// One sentence on a command line that cannot be used. The first word that belongs to nothing is
// what it names, whatever else is missing on its account, with the nearest name there is.
std::string explain(const CLI::App& app, const CLI::ParseError& error);

}  // namespace emberq
