# Completion of marsadm for fish. Asks marsadm itself, which knows commands, options, resources and nodes.

function __marsadm_words
    set -l words (commandline -opc) (commandline -ct)
    for line in (marsadm complete-words fish -- $words[2..-1] 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (commandline -ct)
            case :nospace
            case '*'
                echo $line
        end
    end
end

complete -c marsadm -f -a '(__marsadm_words)'
