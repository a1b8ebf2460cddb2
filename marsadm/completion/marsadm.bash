# Completion of marsadm for bash. Asks marsadm itself, which knows commands, options, resources and nodes.

_marsadm() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default 2>/dev/null
        elif [[ $line == :nospace ]]; then
            compopt -o nospace 2>/dev/null
        else
            COMPREPLY+=("$line")
        fi
    done < <("${COMP_WORDS[0]}" complete-words bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

complete -F _marsadm marsadm
