#compdef marsadm
# Completion of marsadm for zsh. Asks marsadm itself, which knows commands, options, resources and nodes.

_marsadm() {
    local -a found
    local line files nospace
    while IFS= read -r line; do
        case $line in
            :files) files=1 ;;
            :nospace) nospace=1 ;;
            *) found+=("$line") ;;
        esac
    done < <("${words[1]}" complete-words zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    if [[ -n $nospace ]]; then
        compadd -S '' -- "${found[@]}"
    else
        compadd -- "${found[@]}"
    fi
    if [[ -n $files ]]; then
        _files
    fi
}

# Sourced, or loaded from a folder of $fpath.
if [[ $funcstack[1] == _marsadm ]]; then
    _marsadm "$@"
else
    compdef _marsadm marsadm
fi
