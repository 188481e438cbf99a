#pragma once

#include <string_view>

// Ages of characters, for tables of the tokenizers package that are older than Oniguruma's: in
// Oniguruma's syntax, for the inside of a set. From Unicode's DerivedAge.txt.
namespace emberq {

// Punctuation of Unicode 9.
inline constexpr std::string_view kPunctuationOfUnicode9 =
    R"(\x{2E43}\x{2E44}\x{1144B}-\x{1144F}\x{1145B}\x{1145D}\x{11660}-\x{1166C}\x{11C41}-\x{11C45})"
    R"(\x{11C70}\x{11C71}\x{1E95E}\x{1E95F})";

// All characters of Unicode 10 to 17; ranges go on over code points without a character.
inline constexpr std::string_view kSinceUnicode10 =
    R"(\x{558}\x{560}\x{588}\x{58B}-\x{58C}\x{5C8}-\x{5C9}\x{5EF}\x{61D}\x{7FD}-\x{7FF})"
    R"(\x{860}-\x{89F}\x{8B5}\x{8BE}-\x{8D3}\x{9FC}-\x{9FE}\x{A76}\x{AFA}-\x{AFF}\x{B53}-\x{B55})"
    R"(\x{C04}\x{C3C}\x{C5C}-\x{C5D}\x{C77}\x{C84}\x{CDC}-\x{CDD}\x{CF3}-\x{D00}\x{D04})"
    R"(\x{D3B}-\x{D3C}\x{D81}\x{E86}\x{E89}\x{E8C}\x{E8E}-\x{E93}\x{E98}\x{EA0}\x{EA8}-\x{EA9})"
    R"(\x{EAC}\x{EBA}\x{ECE}\x{170D}\x{1715}-\x{171F}\x{180F}\x{1878}\x{1ABF}-\x{1AF0})"
    R"(\x{1B4C}-\x{1B4F}\x{1B7D}-\x{1B7F}\x{1C89}-\x{1CBF}\x{1CF7}\x{1CFA}\x{1DF6}-\x{1DFA}\x{208F})"
    R"(\x{209D}-\x{209F}\x{20BF}-\x{20C4}\x{23FF}\x{2427}-\x{2429}\x{2B96}-\x{2B97})"
    R"(\x{2BBA}-\x{2BBC}\x{2BC9}\x{2BD2}-\x{2BEB}\x{2BF0}-\x{2BFF}\x{2C2F}\x{2C5F}\x{2E45}-\x{2E63})"
    R"(\x{2FFC}-\x{2FFF}\x{312E}-\x{312F}\x{31BB}-\x{31BF}\x{31E4}-\x{31EF}\x{32FF})"
    R"(\x{4DB6}-\x{4DBF}\x{9FD6}-\x{9FFF}\x{A7AF}\x{A7B8}-\x{A7F6}\x{A82C}\x{A8FE}-\x{A8FF})"
    R"(\x{AB66}-\x{AB6D}\x{FBC2}-\x{FBD2}\x{FD40}-\x{FD4F}\x{FD90}-\x{FD91}\x{FDC8}-\x{FDCF})"
    R"(\x{FDFE}-\x{FDFF}\x{1019C}\x{1032D}-\x{1032F}\x{10570}-\x{105F3}\x{10780}-\x{107BF})"
    R"(\x{10940}-\x{10959}\x{10A34}-\x{10A35}\x{10A48}\x{10D00}-\x{10D8F}\x{10E80}-\x{10FF6})"
    R"(\x{11070}-\x{11075}\x{110C2}-\x{110CD}\x{11144}-\x{11147}\x{111CE}-\x{111CF})"
    R"(\x{1123F}-\x{11241}\x{1133B}\x{11380}-\x{113E2}\x{1145A}\x{1145E}-\x{11461})"
    R"(\x{116B8}-\x{116B9}\x{116D0}-\x{116E3}\x{1171A}\x{11740}-\x{1183B}\x{11900}-\x{11ABF})"
    R"(\x{11B00}-\x{11BF9}\x{11D00}-\x{11FFF}\x{1246F}\x{12475}-\x{1247F}\x{12550}-\x{12FF2})"
    R"(\x{1342F}-\x{143FA}\x{16100}-\x{16139}\x{16A70}-\x{16AC9}\x{16D40}-\x{16ED3})"
    R"(\x{16F45}-\x{16F4F}\x{16F7F}-\x{16F87}\x{16FE1}-\x{16FF6}\x{187ED}-\x{187FF})"
    R"(\x{18AF3}-\x{1AFFE}\x{1B002}-\x{1B2FB}\x{1CC00}-\x{1CFC3}\x{1D127}-\x{1D128})"
    R"(\x{1D1E9}-\x{1D1FF}\x{1D250}-\x{1D2F3}\x{1D372}-\x{1D378}\x{1D6A6}\x{1DB00}-\x{1DFFF})"
    R"(\x{1E030}-\x{1E7FE}\x{1E94B}\x{1EC71}-\x{1ED3D}\x{1F10D}-\x{1F10F}\x{1F12F})"
    R"(\x{1F16C}-\x{1F16F}\x{1F1AD}-\x{1F1AE}\x{1F260}-\x{1F265}\x{1F6D3}-\x{1F6DF})"
    R"(\x{1F6F7}-\x{1F6FC}\x{1F774}-\x{1F77F}\x{1F7D5}-\x{1F7FF}\x{1F8B0}-\x{1F90F}\x{1F91F})"
    R"(\x{1F928}-\x{1F92F}\x{1F931}-\x{1F932}\x{1F93F}\x{1F94C}-\x{1F94F}\x{1F95F}-\x{1F97F})"
    R"(\x{1F992}-\x{1F9BF}\x{1F9C1}-\x{1FBFA}\x{2A6D7}-\x{2A6DF}\x{2B735}-\x{2B73F}\x{2B81E})"
    R"(\x{2CEA2}-\x{2EE5D}\x{30000}-\x{3FC3F})";

}  // namespace emberq
