// Text for a person's terminal: as wide as it is there, aligned whatever letters a name has.
#pragma once

#include <string>
#include <string_view>

namespace lanrage::cli {

// Of the terminal on standard output; 80 where it is none.
std::size_t terminal_columns();
// Cells that UTF-8 takes on a terminal: letters of East Asia and emoji two, marks on a letter none.
std::size_t display_width(std::string_view text);
// `text` and spaces, to that many cells; a longer text stays whole.
std::string padded(std::string_view text, std::size_t cells);
// "label   text", broken between words, with further lines below the text.
void print_wrapped(std::string_view label, std::string_view text);

}  // namespace lanrage::cli
