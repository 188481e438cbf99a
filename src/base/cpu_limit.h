#pragma once

#include <optional>
#include <string_view>

#include "base/file.h"

// How many processors a container may use: the CPU bandwidth of cgroups, which affinity does not
// show.
namespace emberq {

// Of cpu.max (cgroup v2): "200000 100000" is 2 processors. nullopt for "max", which is no limit,
// and for what cannot be read.
std::optional<double> parse_cpu_max(std::string_view text);

// Of cpu.cfs_quota_us and cpu.cfs_period_us (cgroup v1). A quota of -1 is no limit.
std::optional<double> parse_cfs_quota(std::string_view quota, std::string_view period);

// The smallest limit of this process's cgroups and of all that they are in. `root` is the folder
// that holds proc/ and sys/.
std::optional<double> cgroup_cpu_limit(const fs::path& root = "/");

}  // namespace emberq
