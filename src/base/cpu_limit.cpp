#include "base/cpu_limit.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

namespace emberq {
namespace {

// The number at the beginning of the text, which is taken off. nullopt where there is none.
std::optional<double> take_number(std::string_view& text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(size_t(end - text.data()));
  return double(number);
}

std::optional<double> ratio(std::optional<double> quota, std::optional<double> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return *quota / *period;
}

// The first line of a file; empty where it cannot be read.
std::string first_line(const fs::path& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

std::optional<double> smaller(std::optional<double> a, std::optional<double> b) {
  if (a && b) return std::min(*a, *b);
  return a ? a : b;
}

// The smallest limit of the group at `path` below the mount point and of those above it. A
// container may see its own group as the mount point, and a path that is not there.
template <class LimitOf>
std::optional<double> smallest(const fs::path& mount, std::string_view path,
                               const LimitOf& limit_of) {
  std::optional<double> limit = limit_of(mount);
  fs::path group = mount;
  for (const fs::path& part : fs::path(path).relative_path()) {
    group /= part;
    limit = smaller(limit, limit_of(group));
  }
  return limit;
}

bool has_cpu(std::string_view controllers) {  // "cpu,cpuacct"
  while (!controllers.empty()) {
    const size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == "cpu") return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

std::optional<double> parse_cpu_max(std::string_view text) {
  const auto quota = take_number(text);
  return ratio(quota, take_number(text));
}

std::optional<double> parse_cfs_quota(std::string_view quota, std::string_view period) {
  return ratio(take_number(quota), take_number(period));
}

std::optional<double> cgroup_cpu_limit(const fs::path& root) {
  const auto of_v1 = [](const fs::path& group) {
    return parse_cfs_quota(first_line(group / "cpu.cfs_quota_us"),
                           first_line(group / "cpu.cfs_period_us"));
  };
  const auto of_v2 = [](const fs::path& group) {
    return parse_cpu_max(first_line(group / "cpu.max"));
  };
  std::optional<double> limit;
  std::ifstream groups(root / "proc/self/cgroup");  // lines of "ID:CONTROLLERS:PATH"
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    const fs::path mounts = root / "sys/fs/cgroup";
    if (controllers.empty())
      for (const fs::path& mount : {mounts, mounts / "unified"})
        limit = smaller(limit, smallest(mount, path, of_v2));
    else if (has_cpu(controllers))
      for (const fs::path& mount : {mounts / "cpu", mounts / controllers})
        limit = smaller(limit, smallest(mount, path, of_v1));
  }
  return limit;
}

}  // namespace emberq
