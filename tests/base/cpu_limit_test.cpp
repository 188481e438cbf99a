#include "base/cpu_limit.h"

#include <gtest/gtest.h>

#include "support/test_folder.h"

namespace emberq::cpu_limit_test {
namespace {

// A folder that stands for /, with what a kernel shows of a process's cgroups.
class FakeRoot {
 public:
  explicit FakeRoot(std::string_view groups) { write("proc/self/cgroup", groups); }
  void write(const std::string& name, std::string_view text) {
    fs::create_directories((folder_.path() / name).parent_path());
    folder_.write(name, text);
  }
  std::optional<double> limit() const { return cgroup_cpu_limit(folder_.path()); }

 private:
  TestFolder folder_;
};

TEST(CpuMax, IsQuotaOverPeriod) {
  EXPECT_EQ(parse_cpu_max("200000 100000\n"), 2.0);
  EXPECT_EQ(parse_cpu_max("50000 100000"), 0.5);
}

TEST(CpuMax, IsNoLimitWhereTextGivesNone) {
  for (const char* text : {"max 100000", "", "max", "200000", "0 100000", "200000 0", "-1 100000",
                           "two 100000", "200000 x", "99999999999999999999 100000"})
    EXPECT_EQ(parse_cpu_max(text), std::nullopt) << text;
}

TEST(CfsQuota, IsQuotaOverPeriod) { EXPECT_EQ(parse_cfs_quota("150000", "100000"), 1.5); }

TEST(CfsQuota, IsNoLimitWhereQuotaIsMinusOneOrAbsent) {
  EXPECT_EQ(parse_cfs_quota("-1", "100000"), std::nullopt);
  EXPECT_EQ(parse_cfs_quota("", ""), std::nullopt);
}

TEST(CgroupCpuLimit, IsAbsentWhereNoFileIsThere) {
  EXPECT_EQ(FakeRoot("0::/\n").limit(), std::nullopt);
  EXPECT_EQ(cgroup_cpu_limit("/no/such/folder"), std::nullopt);
}

TEST(CgroupCpuLimit, OfAContainerIsThatOfItsMountPoint) {
  FakeRoot v2("0::/\n");
  v2.write("sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_EQ(v2.limit(), 3.0);
  FakeRoot v1("4:cpu,cpuacct:/docker/0123\n0::/\n");  // the path on the host, not seen inside
  v1.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
  v1.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(v1.limit(), 2.5);
}

TEST(CgroupCpuLimit, IsTheSmallestOfAGroupAndThoseAboveIt) {
  FakeRoot root("0::/a.slice/b.service\n");
  root.write("sys/fs/cgroup/a.slice/cpu.max", "200000 100000\n");
  root.write("sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
  EXPECT_EQ(root.limit(), 2.0);
  root.write("sys/fs/cgroup/a.slice/b.service/cpu.max", "100000 100000\n");
  EXPECT_EQ(root.limit(), 1.0);
}

TEST(CgroupCpuLimit, IgnoresControllersOtherThanTheProcessor) {
  FakeRoot root("9:cpuset:/x\n8:memory:/x\n2:cpuacct:/x\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(root.limit(), std::nullopt);
}

}  // namespace
}  // namespace emberq::cpu_limit_test
