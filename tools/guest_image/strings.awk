# Prints the string, or each string of the array, that a JSON object has under `key`, one a line.
# Walks the text character by character: a key's comment may hold brackets and escaped quotes.
{ text = text $0 "\n" }
END {
  take = 0; depth = 0; last = ""
  for (at = 1; at <= length(text); at++) {
    c = substr(text, at, 1)
    if (c == "\"") {
      s = ""
      for (at++; (c = substr(text, at, 1)) != "\"" && at <= length(text); at++) {
        if (c == "\\") { at++; c = substr(text, at, 1); if (c == "n" || c == "r" || c == "t") c = " " }
        s = s c
      }
      if (take) print s
      last = s
    } else if (c == ":" && depth == 1) take = (last == key)
    else if (c == "{" || c == "[") depth++
    else if (c == "}" || c == "]") { depth--; if (depth <= 1) take = 0 }
    else if (c == "," && depth == 1) take = 0
  }
}
